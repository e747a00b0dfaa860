#include "fgdm/sampler.hpp"

#include <algorithm>
#include <cstddef>
#include <iterator>
#include <string>

#include "fgdm/error.hpp"
#include "sampler_steps.hpp"

namespace fgdm {

Sampler::Sampler(SamplerKind kind, const NoiseSchedule& schedule, int num_inference_steps,
                 int first, std::optional<TimestepSpacing> spacing, double eta)
    : kind_(kind) {
  if (eta != 0.0 && (eta != 1.0 || kind != SamplerKind::ddim))
    throw RequestError("eta is " + std::to_string(eta) + " with sampler \"" +
                       std::string(sampler_name(kind)) + "\", expected 0, or with \"ddim\" 0 or 1");
  for (const auto& start : step_starts(schedule, num_inference_steps, kind, spacing)) {
    timesteps_.push_back(start.timestep);
    levels_.push_back(start.level);
  }
  levels_.push_back({1.0, 0.0});
  coefficients_ = step_coefficients(kind, schedule, timesteps_, levels_, first, eta);
  const bool is_euler = kind == SamplerKind::euler || kind == SamplerKind::euler_ancestral;
  if (is_euler && spacing.value_or(schedule.spacing(kind)) != TimestepSpacing::leading)
    initial_scale_ = static_cast<float>(levels_.front().sigma);
}

Sampler Sampler::ddim_inverse(const NoiseSchedule& schedule, int num_inference_steps, int first,
                              std::optional<TimestepSpacing> spacing) {
  const Sampler forward(SamplerKind::ddim, schedule, num_inference_steps, first, spacing);
  Sampler inverse(SamplerKind::ddim);
  const auto begin = forward.timesteps_.begin() + first;
  inverse.timesteps_.assign(std::reverse_iterator(forward.timesteps_.end()),
                            std::reverse_iterator(begin));
  inverse.levels_.assign(std::reverse_iterator(forward.levels_.end()),
                         std::reverse_iterator(forward.levels_.begin() + first));
  inverse.coefficients_ = inverse_ddim_coefficients(schedule, forward.timesteps_, first);
  return inverse;
}

bool Sampler::keeps_older() const {
  return std::ranges::any_of(coefficients_,
                             [](const StepCoefficients& step) { return step.older != 0.0F; });
}

NoiseLevel Sampler::level(int index) const {
  if (index < 0 || static_cast<std::size_t>(index) >= levels_.size())
    throw RequestError("noise level " + std::to_string(index) + " of " +
                       std::to_string(levels_.size()) + "; they count from 0");
  return levels_[static_cast<std::size_t>(index)];
}

const StepCoefficients& Sampler::coefficients(int index) const {
  if (index < 0 || static_cast<std::size_t>(index) >= coefficients_.size())
    throw RequestError("sampler step " + std::to_string(index) + " of " +
                       std::to_string(coefficients_.size()) + "; steps count from 0");
  return coefficients_[static_cast<std::size_t>(index)];
}

void sampler_step(const StepCoefficients& step, std::span<const float> eps, std::span<float> sample,
                  std::span<float> predicted_x0) {
  const StepCoefficients c = step;
  const std::size_t size = sample.size();
  if (eps.size() != size || predicted_x0.size() != size)
    throw RequestError("sampler step: sizes of eps, sample and predicted_x0 are " +
                       std::to_string(eps.size()) + ", " + std::to_string(size) + " and " +
                       std::to_string(predicted_x0.size()) + ", expected the same for all");

  const float* __restrict e = eps.data();
  float* __restrict x = sample.data();
  float* __restrict x0 = predicted_x0.data();
  const auto take = [&](std::size_t i, float history) {
    const float clean = c.x0_from_sample * x[i] + c.x0_from_epsilon * e[i];
    x[i] = c.sample * x[i] + c.epsilon * e[i] + c.x0 * clean + history;
    x0[i] = clean;
  };
  if (c.history == 0.0F) {  // what x0 holds is not read: it may be uninitialised
    for (std::size_t i = 0; i < size; ++i)
      take(i, 0.0F);
  } else {
    for (std::size_t i = 0; i < size; ++i)
      take(i, c.history * x0[i]);
  }
}

std::vector<float> found_remainder(std::span<float> sample, std::span<const float> target) {
  if (target.size() != sample.size())
    throw RequestError("sampler step: sizes of sample and target are " +
                       std::to_string(sample.size()) + " and " + std::to_string(target.size()) +
                       ", expected the same for both");
  std::vector<float> remainder(sample.size());
  for (std::size_t i = 0; i < remainder.size(); ++i) {
    remainder[i] = target[i] - sample[i];
    sample[i] += remainder[i];
  }
  return remainder;
}

std::vector<float> blended_history(const StepCoefficients& step, std::span<const float> before,
                                   std::span<const float> two_before) {
  std::vector<float> blended(before.size());
  for (std::size_t i = 0; i < blended.size(); ++i)
    blended[i] = step.history * before[i] + step.older * two_before[i];
  return blended;
}

}  // namespace fgdm
