#include "sampler_steps.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>

#include "noise_levels.hpp"

namespace fgdm {

namespace {

// A step in terms of the predicted noise and picture, as StepCoefficients has it.
struct Step {
  double sample = 0.0, epsilon = 0.0, x0 = 0.0, history = 0.0, older = 0.0, noise = 0.0;
};

using Levels = std::vector<NoiseLevel>;
using Steps = std::vector<Step>;

// Half the logarithm of the signal-to-noise ratio; infinite without noise.
double lambda(const NoiseLevel& level) {
  return std::log(level.alpha) - std::log(level.sigma);
}

// The levels that DDIM's steps from `times` end at.
Levels ddim_ends(const NoiseSchedule& schedule, const std::vector<double>& times) {
  const auto cumprod = alphas_cumprod(schedule);
  // diffusers steps back by this constant for every spacing, also where neighbours differ from it.
  const int stride = schedule.num_train_timesteps / static_cast<int>(times.size());
  const double end = schedule.set_alpha_to_one ? 1.0 : cumprod.front();
  Levels ends;
  for (const double time : times) {
    const int previous = static_cast<int>(time) - stride;
    ends.push_back(level_at(previous >= 0 ? cumprod[static_cast<std::size_t>(previous)] : end));
  }
  return ends;
}

// Song et al., equation 12, with the sigma_t of equation 16, of which eta is 0 or 1.
Steps ddim(const NoiseSchedule& schedule, const std::vector<double>& times, const Levels& levels,
           double eta) {
  const auto ends = ddim_ends(schedule, times);
  Steps steps;
  for (std::size_t i = 0; i < ends.size(); ++i) {
    const auto &from = levels[i], &to = ends[i];
    if (eta == 0.0) {
      steps.push_back({.epsilon = to.sigma, .x0 = to.alpha});
      continue;
    }
    const double left = from.alpha / to.alpha;
    const double noise = eta * to.sigma / from.sigma * std::sqrt(std::max(0.0, 1.0 - left * left));
    steps.push_back({.epsilon = std::sqrt(std::max(0.0, to.sigma * to.sigma - noise * noise)),
                     .x0 = to.alpha,
                     .noise = noise});
  }
  return steps;
}

// Euler's step of dx / d(sigma) = epsilon, where x and sigma are divided by alpha (Karras et al.,
// equation 1).
Steps euler(const Levels& levels) {
  Steps steps;
  for (std::size_t i = 0; i + 1 < levels.size(); ++i)
    steps.push_back({.epsilon = levels[i + 1].sigma, .x0 = levels[i + 1].alpha});
  return steps;
}

// The same down to sigma_down, and as much noise up again as a step of the forward process has:
// sigma_up^2 = s'^2 (s^2 - s'^2) / s^2 and sigma_down^2 = s'^2 - sigma_up^2 from s = sigma / alpha
// to s' (Song et al., "Score-Based Generative Modeling through SDEs", appendix F, ancestral
// sampling).
Steps euler_ancestral(const Levels& levels) {
  Steps steps;
  for (std::size_t i = 0; i + 1 < levels.size(); ++i) {
    const auto& to = levels[i + 1];
    const double from_ratio = levels[i].sigma / levels[i].alpha, ratio = to.sigma / to.alpha;
    const double down = ratio * ratio / from_ratio;
    const double up = std::sqrt(ratio * ratio - down * down);
    steps.push_back({.epsilon = to.alpha * down, .x0 = to.alpha, .noise = to.alpha * up});
  }
  return steps;
}

// h / (2 (lambda of this step - that of the step before)) = 1 / (2 r0), by which the difference of
// the last two x0 extrapolates; 0 in first-order steps: the first and the last, where h is
// infinite.
double slope(const Levels& levels, std::size_t i, std::size_t first) {
  if (i <= first || i + 2 == levels.size())
    return 0.0;
  const double h = lambda(levels[i + 1]) - lambda(levels[i]);
  return 0.5 * h / (lambda(levels[i]) - lambda(levels[i - 1]));
}

// Lu et al., algorithm 2.
Steps dpmsolver_multistep(const Levels& levels, std::size_t first) {
  Steps steps;
  for (std::size_t i = 0; i + 1 < levels.size(); ++i) {
    const auto &from = levels[i], &to = levels[i + 1];
    const double h = lambda(to) - lambda(from);  // infinite in the last step
    const double weight = -to.alpha * std::expm1(-h), extra = slope(levels, i, first);
    steps.push_back({.sample = to.sigma / from.sigma,
                     .x0 = weight * (1.0 + extra),
                     .history = -weight * extra});
  }
  return steps;
}

// Lu et al., section 5, SDE-DPM-Solver++(2M).
Steps dpmsolver_sde(const Levels& levels, std::size_t first) {
  Steps steps;
  for (std::size_t i = 0; i + 1 < levels.size(); ++i) {
    const auto &from = levels[i], &to = levels[i + 1];
    const double h = lambda(to) - lambda(from);
    const double fresh = -std::expm1(-2.0 * h), extra = slope(levels, i, first);
    steps.push_back({.sample = to.sigma / from.sigma * std::exp(-h),
                     .x0 = to.alpha * fresh * (1.0 + extra),
                     .history = -to.alpha * fresh * extra,
                     .noise = to.sigma * std::sqrt(fresh)});
  }
  return steps;
}

// Zhao et al., algorithms 6 (UniC) and 8 (UniP) with B(h) = expm1(-h). The corrector of a step goes
// back to the sample that the predictor before it started from; since both move that sample by the
// same factor, what the corrector changes is a sum of the last three x0 alone:
//   predictor  x' = ratio x + w (m0 + extra (m0 - m1)), extra as in DPM-Solver++
//   corrector  x += k ((1/2 - rho_1) (m2 - m1) / r - rho_c (m0 - m1))
// where m0, m1, m2 are x0 of this step and those before. Where the step before was of first order,
// rho_c is 1/2 and there is no m2.
Steps unipc(const Levels& levels, std::size_t first) {
  Steps steps;
  for (std::size_t i = 0; i + 1 < levels.size(); ++i) {
    const auto &from = levels[i], &to = levels[i + 1];
    double m0 = 0.0, m1 = 0.0, m2 = 0.0;  // what the corrector adds to the sample
    if (i > first) {
      const double h = lambda(from) - lambda(levels[i - 1]), phi = std::expm1(-h);
      const double k = from.alpha * phi;
      double rho = 0.5;
      if (i - 1 > first) {
        const double r = (lambda(levels[i - 2]) - lambda(levels[i - 1])) / h;
        const double g = -phi / h - 1.0, b1 = g / phi, b2 = 2.0 * (-g / h - 0.5) / phi;
        const double rho_1 = (b1 - b2) / (1.0 - r);
        rho = b1 - rho_1;
        m2 = k * (0.5 - rho_1) / r;
      }
      m0 = -k * rho;
      m1 = k * rho - m2;
    }
    const double ratio = to.sigma / from.sigma;
    const double weight = -to.alpha * std::expm1(lambda(from) - lambda(to));
    const double extra = slope(levels, i, first);
    steps.push_back({.sample = ratio,
                     .x0 = ratio * m0 + weight * (1.0 + extra),
                     .history = ratio * m1 - weight * extra,
                     .older = ratio * m2});
  }
  return steps;
}

// Luo et al., algorithm 3, with the consistency function c_skip x + c_out x0 of their section 4.1.
Steps lcm(const Levels& levels, const std::vector<double>& times) {
  Steps steps;
  for (std::size_t i = 0; i < times.size(); ++i) {
    const double scaled = 10.0 * times[i] / 0.5;  // over sigma_data
    const double skip = 1.0 / (scaled * scaled + 1.0), out = scaled / std::hypot(scaled, 1.0);
    const auto& to = levels[i + 1];
    steps.push_back({.sample = to.alpha * skip, .x0 = to.alpha * out, .noise = to.sigma});
  }
  return steps;
}

// Zheng et al., algorithm 4: to the timestep (1 - gamma) of the next, and noise up from there.
Steps tcd(const NoiseSchedule& schedule, const std::vector<double>& times) {
  constexpr float gamma = 0.3F;
  const auto cumprod = alphas_cumprod(schedule);
  Steps steps;
  for (std::size_t i = 0; i < times.size(); ++i) {
    const bool is_last = i + 1 == times.size();
    const auto next = is_last ? 0.0F : static_cast<float>(times[i + 1]);
    const double between = cumprod[static_cast<std::size_t>((1.0F - gamma) * next)];
    const double kept = is_last ? 1.0 : cumprod[static_cast<std::size_t>(next)] / between;
    const auto to = level_at(between);
    steps.push_back({.epsilon = std::sqrt(kept) * to.sigma,
                     .x0 = std::sqrt(kept) * to.alpha,
                     .noise = std::sqrt(1.0 - kept)});
  }
  return steps;
}

Steps steps_of(SamplerKind kind, const NoiseSchedule& schedule, const std::vector<double>& times,
               const Levels& levels, std::size_t first, double eta) {
  switch (kind) {
  case SamplerKind::ddim:
    return ddim(schedule, times, levels, eta);
  case SamplerKind::dpmsolver_multistep:
    return dpmsolver_multistep(levels, first);
  case SamplerKind::dpmsolver_sde:
    return dpmsolver_sde(levels, first);
  case SamplerKind::euler:
    return euler(levels);
  case SamplerKind::euler_ancestral:
    return euler_ancestral(levels);
  case SamplerKind::unipc:
    return unipc(levels, first);
  case SamplerKind::lcm:
    return lcm(levels, times);
  case SamplerKind::tcd:
    return tcd(schedule, times);
  }
  return {};
}

// In terms of what the model predicts: x0 = (x - sigma epsilon) / alpha, or with v
// x0 = alpha x - sigma v and epsilon = alpha v + sigma x.
StepCoefficients of_output(const Step& step, const NoiseLevel& at, Prediction prediction) {
  const bool is_v = prediction == Prediction::v;
  const auto number = [](double value) { return static_cast<float>(value); };
  return {number(is_v ? at.alpha : 1.0 / at.alpha),
          number(is_v ? -at.sigma : -at.sigma / at.alpha),
          number(is_v ? step.sample + step.epsilon * at.sigma : step.sample),
          number(is_v ? step.epsilon * at.alpha : step.epsilon),
          number(step.x0),
          number(step.history),
          number(step.older),
          number(step.noise)};
}

}  // namespace

std::vector<StepCoefficients> step_coefficients(SamplerKind kind, const NoiseSchedule& schedule,
                                                const std::vector<double>& timesteps,
                                                const std::vector<NoiseLevel>& levels, int first,
                                                double eta) {
  const auto steps =
      steps_of(kind, schedule, timesteps, levels, static_cast<std::size_t>(first), eta);
  std::vector<StepCoefficients> coefficients;
  for (std::size_t i = 0; i < steps.size(); ++i)
    coefficients.push_back(of_output(steps[i], levels[i], schedule.prediction));
  return coefficients;
}

std::vector<StepCoefficients> inverse_ddim_coefficients(const NoiseSchedule& schedule,
                                                        const std::vector<double>& timesteps,
                                                        int first) {
  const auto cumprod = alphas_cumprod(schedule);
  const auto ends = ddim_ends(schedule, timesteps);
  std::vector<StepCoefficients> coefficients;
  for (std::size_t i = ends.size(); i-- > static_cast<std::size_t>(first);) {
    const auto to = level_at(cumprod[static_cast<std::size_t>(timesteps[i])]);
    coefficients.push_back(
        of_output({.epsilon = to.sigma, .x0 = to.alpha}, ends[i], schedule.prediction));
  }
  return coefficients;
}

}  // namespace fgdm
