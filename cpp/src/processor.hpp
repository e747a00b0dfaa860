#pragma once

#include <string>

namespace fgdm {

// The name of this machine's processor.
std::string processor_name();

// Whether it multiplies bfloat16 matrices in hardware.
bool processor_has_bfloat16();

}  // namespace fgdm
