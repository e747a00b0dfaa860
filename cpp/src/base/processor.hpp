#pragma once

#include <string>

namespace fgdm {

// The name of this machine's processor.
std::string processor_name();

// How this machine's processor multiplies bfloat16 matrices: not at all, as vectors (AVX512-BF16),
// or as tiles (AMX).
enum class Bfloat16 { none, vectors, tiles };
Bfloat16 processor_bfloat16();

}  // namespace fgdm
