#include "fgdm/sampler.hpp"

#include <cmath>
#include <cstddef>
#include <string>

#include "fgdm/error.hpp"

namespace fgdm {

namespace {

double lambda(const NoiseLevel& level) {
  return std::log(level.alpha) - std::log(level.sigma);
}

NoiseLevel level_at(double alpha_cumprod) {
  return {std::sqrt(alpha_cumprod), std::sqrt(1.0 - alpha_cumprod)};
}

StepCoefficients make_coefficients(const NoiseLevel& from) {
  StepCoefficients result{};
  result.x0_from_sample = static_cast<float>(1.0 / from.alpha);
  result.x0_from_epsilon = static_cast<float>(-from.sigma / from.alpha);
  return result;
}

std::vector<StepCoefficients> ddim(const NoiseSchedule& schedule,
                                   const std::vector<double>& cumprod,
                                   const std::vector<int>& times) {
  // diffusers steps back by this constant for every spacing, also where neighbours differ from it.
  const int stride = schedule.num_train_timesteps / static_cast<int>(times.size());
  const double end = schedule.set_alpha_to_one ? 1.0 : cumprod.front();
  std::vector<StepCoefficients> result;
  for (const int time : times) {
    const int previous = time - stride;
    const auto to = level_at(previous >= 0 ? cumprod[static_cast<std::size_t>(previous)] : end);
    StepCoefficients step = make_coefficients(level_at(cumprod[static_cast<std::size_t>(time)]));
    step.x0 = static_cast<float>(to.alpha);
    step.epsilon = static_cast<float>(to.sigma);
    result.push_back(step);
  }
  return result;
}

std::vector<StepCoefficients> dpmsolver_multistep(const std::vector<double>& cumprod,
                                                  const std::vector<int>& times, int first) {
  // Where a schedule ends in pure noise, diffusers puts this in its place, and so has an infinite
  // ratio nowhere.
  constexpr double nearly_noise = 0x1p-24;
  std::vector<NoiseLevel> levels;
  for (const int time : times) {
    const double level = cumprod[static_cast<std::size_t>(time)];
    levels.push_back(level_at(level == 0.0 ? nearly_noise : level));
  }
  levels.push_back({1.0, 0.0});

  std::vector<StepCoefficients> result;
  for (std::size_t i = 0; i < times.size(); ++i) {
    const auto& from = levels[i];
    const auto& to = levels[i + 1];
    StepCoefficients step = make_coefficients(from);
    step.sample = static_cast<float>(to.sigma / from.sigma);
    const double h = lambda(to) - lambda(from);  // infinite in the last step
    const double weight = -to.alpha * std::expm1(-h);
    const bool first_order = i <= static_cast<std::size_t>(first) || i + 1 == times.size();
    const double slope =
        first_order ? 0.0 : 0.5 * h / (lambda(from) - lambda(levels[i - 1]));  // 1 / (2 r0)
    step.x0 = static_cast<float>(weight * (1.0 + slope));
    step.history = static_cast<float>(-weight * slope);
    result.push_back(step);
  }
  return result;
}

}  // namespace

Sampler::Sampler(SamplerKind kind, const NoiseSchedule& schedule, int num_inference_steps,
                 int first, std::optional<TimestepSpacing> spacing)
    : kind_(kind), timesteps_(fgdm::timesteps(schedule, num_inference_steps, kind, spacing)) {
  const std::vector<double> cumprod = alphas_cumprod(schedule);
  coefficients_ = kind == SamplerKind::ddim ? ddim(schedule, cumprod, timesteps_)
                                            : dpmsolver_multistep(cumprod, timesteps_, first);
  for (const int time : timesteps_)
    levels_.push_back(level_at(cumprod[static_cast<std::size_t>(time)]));
  levels_.push_back({1.0, 0.0});
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

}  // namespace fgdm
