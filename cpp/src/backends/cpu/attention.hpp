#pragma once

#include <span>
#include <vector>

#include "attention_kernel.hpp"

namespace fgdm::cpu {

// Those that this processor can run, the fastest first; one at least.
std::span<const AttentionKernel> attention_kernels();

// Pieces for so many threads. What comes out doesn't depend on how patches are cut.
std::vector<AttentionPart> attention_parts(const fgdm_attention_shape& shape, int threads);

}  // namespace fgdm::cpu
