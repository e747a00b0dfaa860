#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "fgdm/api.h"

namespace fgdm {

// out = negative + guidance_scale * (positive - negative), element by element: classifier-free
// guidance (Ho and Salimans) with the guidance_scale of diffusers, which is 1 + w in the papers
// (equations 4 and 11 of "Segmentation-Free Guidance for Text-to-Image Diffusion Models").
// `out` may be the same memory as either input. Throws RequestError unless all sizes agree.
FGDM_API void combine(std::span<const float> negative, std::span<const float> positive,
                      float guidance_scale, std::span<float> out);

// One term of guidance: a prediction of the noise, (C, h, w), what its difference to the base
// counts, and where: cells (h, w) that aren't 0; empty: everywhere.
struct FGDM_API GuidanceTerm {
  std::span<const float> row;
  float weight;
  std::span<const std::uint8_t> cells{};
};

// out = base + the sum over the terms, in their order, of weight * (row - base) in the term's
// cells: guidance of any number of rows, as LEDITS++ sums its edits (Brack et al., "LEDITS++:
// Limitless Image Editing using Text-to-Image Models", CVPR 2024, equations 7 and 8). With one term
// everywhere it is combine(), to the bit. `out` may be the memory of `base` or of any row. Throws
// RequestError unless sizes agree.
FGDM_API void guide(std::span<const float> base, std::span<const GuidanceTerm> terms,
                    std::span<float> out);

// The cells (h, w), 1 and 0, in which `row` differs most from `base`: where the sum over the
// `channels` of |row - base| is at least its quantile `threshold`, 0 to 1, between cells linearly
// (the mask M2 of LEDITS++, equation 10). `within`: cells outside count as without a difference;
// empty: all are within. 0: all cells. Throws RequestError unless sizes agree.
FGDM_API std::vector<std::uint8_t> strongest_cells(std::span<const float> base,
                                                   std::span<const float> row, int channels,
                                                   double threshold,
                                                   std::span<const std::uint8_t> within = {});

enum class GuidanceKind { cfg, segfree };

// A part of the steps, as fractions of them: from `start` on and before `stop`.
struct FGDM_API Interval {
  double start = 0.0;
  double stop = 1.0;
};

// How a factor is guided, with the papers' defaults.
struct FGDM_API GuidanceConfig {
  GuidanceKind kind = GuidanceKind::cfg;
  float guidance_scale = 7.5F;          // of classifier-free steps
  float segfree_guidance_scale = 3.5F;  // of segmentation-free steps: 1 + the paper's 2.5
  float segfree_scale = 10.0F;          // a: the degraded branch weighs its strongest token by -a
  double segfree_start = 0.5;           // the first segmentation-free step, as a fraction of all
  // Steps outside are not guided (Kynkaanniemi et al., "Applying Guidance in a Limited Interval
  // Improves Sample and Distribution Quality in Diffusion Models").
  Interval interval;
};

// What one step's negative row is and how it is combined.
struct FGDM_API GuidancePhase {
  bool segfree;               // true: the negative row carries the positive prompt
  float guidance_scale;       // for combine()
  float attn_scale_negative;  // attn_scale of the negative row: 1, or -a where segfree

  // A scale of 1 is the positive row alone.
  bool guided() const { return guidance_scale != 1.0F; }
  int rows() const { return guided() ? 2 : 1; }  // of the backbone
};

// The phase of step `step` (from 0) of `num_steps`. Steps 0 .. t_s - 1 are classifier-free and the
// rest segmentation-free, where t_s = segfree_start * num_steps rounded to the nearest integer,
// halves up. This is Algorithm 1 of the segmentation-free paper with t_s as it defines it, the
// number of classifier-free iterations; its line 03 taken literally ("t >= T - t_s", t from T down)
// would count one more. A step outside the interval, or whose scale is 1 or less, has
// guidance_scale 1: its positive row is all it needs. (diffusers, too, takes a scale of up to 1 for
// no guidance.) Throws RequestError unless 0 <= step < num_steps and 0 <= segfree_start <= 1.
FGDM_API GuidancePhase phase_at(int step, int num_steps, const GuidanceConfig& config);

}  // namespace fgdm
