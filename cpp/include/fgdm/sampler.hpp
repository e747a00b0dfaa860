#pragma once

#include <optional>
#include <span>
#include <vector>

#include "fgdm/api.h"
#include "fgdm/schedule.hpp"

namespace fgdm {

// One sampler step as a linear map, the same for every element of a row:
//   x0     = x0_from_sample * x + x0_from_epsilon * output
//   x_next = sample * x + epsilon * output + x0 * x0 + history * (x0 of the step before)
//            + older * (x0 of the step before that) + noise * z
// `output` is the model's: the predicted noise, or v. z is standard normal noise of this step's
// own.
struct FGDM_API StepCoefficients {
  float x0_from_sample;
  float x0_from_epsilon;
  float sample;
  float epsilon;
  float x0;
  float history;
  float older = 0.0F;
  float noise = 0.0F;
};

// Takes one row through a step, but for `older` and `noise`. All spans have the size of `sample`
// and don't overlap.
//   eps           the model's output
//   sample        in: the latents at the step's timestep; out: at the next
//   predicted_x0  in: of the step before, not read where `history` is 0; out: of this step
// Throws RequestError if a size is wrong.
FGDM_API void sampler_step(const StepCoefficients& step, std::span<const float> eps,
                           std::span<float> sample, std::span<float> predicted_x0);

// What step `step` adds beside its noise to end at `target`: target - sample, where `sample` is
// what it made without noise. Divided by `step.noise` that is the noise z of the step with which a
// stochastic sampler lands on `target`: the noise maps of "An Edit Friendly DDPM Noise Space"
// (Huberman-Spiegelglas et al., CVPR 2024, equation 5) and of LEDITS++ (Brack et al., CVPR 2024,
// equation 4). `sample` becomes the sum of both, which is `target` up to the rounding of float32,
// so that a later run that adds the same ends at the same to the bit. Throws RequestError for sizes
// that differ.
FGDM_API std::vector<float> found_remainder(std::span<float> sample, std::span<const float> target);

// history * before + older * two_before: what a step with `older` takes of the x0 of the two steps
// before it. Both have the same size.
FGDM_API std::vector<float> blended_history(const StepCoefficients& step,
                                            std::span<const float> before,
                                            std::span<const float> two_before);

// The steps of one sampler over one schedule. It holds no state of a row, so that rows at different
// steps can share it; it never changes after construction and can be used from many threads.
class FGDM_API Sampler {
public:
  // `first`: the step that is taken first, 0 from pure noise. `spacing`: unset, the schedule's for
  // that sampler. `eta`: of DDIM, 0 or 1 (Song et al., equation 16); 1 has the variance of DDPM.
  // Throws BundleError for the schedule and RequestError for the number of steps, and for an eta
  // that the sampler hasn't.
  Sampler(SamplerKind kind, const NoiseSchedule& schedule, int num_inference_steps, int first = 0,
          std::optional<TimestepSpacing> spacing = std::nullopt, double eta = 0.0);

  // The way back of DDIM with eta = 0: from a picture without noise to the latents that step
  // `first` starts from, in num_inference_steps - first steps of its own. Each undoes one of the
  // sampler's, as if the noise that the model predicts for the latents before it and for those
  // after it were the same; the model is told the timestep of those after it, as in diffusers'
  // DDIMInverseScheduler.
  static Sampler ddim_inverse(const NoiseSchedule& schedule, int num_inference_steps, int first = 0,
                              std::optional<TimestepSpacing> spacing = std::nullopt);

  SamplerKind kind() const { return kind_; }
  std::span<const double> timesteps() const { return timesteps_; }

  // What standard normal noise is multiplied by where sampling begins with nothing else: 1, but for
  // Euler's samplers, which may begin at sigma as diffusers does.
  float initial_scale() const { return initial_scale_; }

  // Whether a step takes the x0 of the step before the one before.
  bool keeps_older() const;

  // How noisy the latents are that step `index` starts from; after the last one, not at all. Throws
  // RequestError unless 0 <= index <= timesteps().size().
  NoiseLevel level(int index) const;

  // Throws RequestError unless 0 <= index < timesteps().size().
  const StepCoefficients& coefficients(int index) const;

private:
  explicit Sampler(SamplerKind kind) : kind_(kind) {}

  SamplerKind kind_;
  std::vector<double> timesteps_;
  float initial_scale_ = 1.0F;
  std::vector<StepCoefficients> coefficients_;
  std::vector<NoiseLevel> levels_;
};

}  // namespace fgdm
