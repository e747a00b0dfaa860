#pragma once

namespace fgdm {

// Gives the system what the C library keeps of freed memory, where it can be asked to. Loading a
// graph leaves as much as the graph takes.
void return_freed_memory();

}  // namespace fgdm
