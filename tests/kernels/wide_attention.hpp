#pragma once

#include "attention_kernel.hpp"

namespace fgdm::cpu {

extern const AttentionKernel attention_wide;

}  // namespace fgdm::cpu
