#pragma once

#include <span>

namespace fgdm {

// out = negative + guidance_scale * (positive - negative), element by element: classifier-free
// guidance (Ho and Salimans) with the guidance_scale of diffusers, which is 1 + w in the papers
// (equations 4 and 11 of "Segmentation-Free Guidance for Text-to-Image Diffusion Models").
// `out` may be the same memory as either input. Throws RequestError unless all sizes agree.
void combine(std::span<const float> negative, std::span<const float> positive, float guidance_scale,
             std::span<float> out);

enum class GuidanceKind { cfg, segfree };

// A part of the steps, as fractions of them: from `start` on and before `stop`.
struct Interval {
  double start = 0.0;
  double stop = 1.0;
};

// How a factor is guided, with the papers' defaults.
struct GuidanceConfig {
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
struct GuidancePhase {
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
GuidancePhase phase_at(int step, int num_steps, const GuidanceConfig& config);

}  // namespace fgdm
