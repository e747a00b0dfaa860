#pragma once

// What the kernels compute, on the CPU, in float64 where numbers are real; same parameters as
// fgdm/kernels.h, arrays in host memory, 16-bit numbers given as float64. Slow and simple.

#include <span>
#include <vector>

#include "fgdm/kernels.h"

namespace fgdm::kernels::reference {

// fgdm_segfree_attention. `strongest`, if not NULL, receives for each of (batch, heads, patches)
// the token chosen, and then those that rounding may put in its place: the allowed ones whose
// probability is less, but by less than the fraction `rounding`. Nothing where none is allowed.
void segfree_attention(const fgdm_attention_shape& shape, std::span<const double> q,
                       std::span<const double> k, std::span<const double> v,
                       std::span<const float> attn_scale,
                       std::span<const unsigned char> argmax_mask, std::span<double> out,
                       std::vector<std::vector<int>>* strongest = nullptr, double rounding = 0.0);

// fgdm_guided_step. `x0` is in: of the step before; out: of this step. `next_input` may be empty.
void guided_step(const fgdm_step_shape& shape, std::span<const fgdm_step_row> steps,
                 std::span<const double> epsilon, std::span<double> sample, std::span<double> x0,
                 std::span<double> next_input, std::span<int> nonfinite);

// fgdm_decode_labels; images hold what the pixels are as float32.
void decode_labels(const fgdm_labels_shape& shape, std::span<const float> images,
                   std::span<const unsigned char> palette, std::span<const unsigned char> requested,
                   std::span<unsigned char> labels, std::span<int> areas,
                   std::span<fgdm_map_recall> recall);

}  // namespace fgdm::kernels::reference
