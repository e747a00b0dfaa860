#pragma once

#include <optional>
#include <span>
#include <vector>

#include "fgdm/schedule.hpp"

namespace fgdm {

// One sampler step as a linear map, the same for every element of a row:
//   x0     = x0_from_sample * x + x0_from_epsilon * output
//   x_next = sample * x + epsilon * output + x0 * x0 + history * (x0 of the step before)
//            + older * (x0 of the step before that) + noise * z
// `output` is the model's: the predicted noise, or v. z is standard normal noise of this step's
// own.
struct StepCoefficients {
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
void sampler_step(const StepCoefficients& step, std::span<const float> eps, std::span<float> sample,
                  std::span<float> predicted_x0);

// history * before + older * two_before: what a step with `older` takes of the x0 of the two steps
// before it. Both have the same size.
std::vector<float> blended_history(const StepCoefficients& step, std::span<const float> before,
                                   std::span<const float> two_before);

// The steps of one sampler over one schedule. It holds no state of a row, so that rows at different
// steps can share it; it never changes after construction and can be used from many threads.
class Sampler {
public:
  // `first`: the step that is taken first, 0 from pure noise. `spacing`: unset, the schedule's for
  // that sampler. Throws BundleError for the schedule and RequestError for the number of steps.
  Sampler(SamplerKind kind, const NoiseSchedule& schedule, int num_inference_steps, int first = 0,
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
  SamplerKind kind_;
  std::vector<double> timesteps_;
  float initial_scale_;
  std::vector<StepCoefficients> coefficients_;
  std::vector<NoiseLevel> levels_;
};

}  // namespace fgdm
