#include "fgdm/sampler.hpp"

#include <array>
#include <cmath>
#include <cstddef>
#include <utility>

#include "fgdm/error.hpp"

namespace fgdm {

namespace {

constexpr std::array<std::pair<SamplerKind, std::string_view>, 2> sampler_names{
    {{SamplerKind::ddim, "ddim"}, {SamplerKind::dpmsolver_multistep, "dpmsolver++"}}};

// A point of the diffusion process: x = alpha * x0 + sigma * epsilon.
struct Level {
  double alpha;
  double sigma;

  double lambda() const { return std::log(alpha) - std::log(sigma); }
};

Level level_at(double alpha_cumprod) {
  return {std::sqrt(alpha_cumprod), std::sqrt(1.0 - alpha_cumprod)};
}

void check(const NoiseSchedule& schedule) {
  const auto fail = [](const std::string& what) {
    throw BundleError("noise schedule: " + what +
                      "; correct \"scheduler\" in the bundle's manifest");
  };
  if (schedule.num_train_timesteps < 1)
    fail("num_train_timesteps is " + std::to_string(schedule.num_train_timesteps) +
         ", expected at least 1");
  if (!(0.0 < schedule.beta_start && schedule.beta_start <= schedule.beta_end &&
        schedule.beta_end < 1.0))
    fail("beta_start is " + std::to_string(schedule.beta_start) + " and beta_end " +
         std::to_string(schedule.beta_end) + ", expected 0 < beta_start <= beta_end < 1");
  if (schedule.beta_schedule != "scaled_linear" && schedule.beta_schedule != "linear")
    fail("beta_schedule is \"" + schedule.beta_schedule +
         "\", expected \"scaled_linear\" or \"linear\"");
  if (schedule.timestep_spacing != "leading" && schedule.timestep_spacing != "trailing" &&
      schedule.timestep_spacing != "linspace")
    fail("timestep_spacing is \"" + schedule.timestep_spacing +
         "\", expected \"leading\", \"trailing\" or \"linspace\"");
  if (schedule.steps_offset < 0)
    fail("steps_offset is " + std::to_string(schedule.steps_offset) + ", expected at least 0");
}

// Rounds half to even, as NumPy does.
int rounded(double value) {
  return static_cast<int>(std::nearbyint(value));
}

// The k-th of `n` timesteps, counted from the noisy end, before it is checked. DPM-Solver's
// spacings have one more interval than DDIM's: its last step ends at sigma = 0 and not at a
// timestep.
int timestep(const NoiseSchedule& schedule, SamplerKind kind, int n, int k) {
  const int train = schedule.num_train_timesteps;
  const bool ends_at_zero = kind == SamplerKind::dpmsolver_multistep;
  if (schedule.timestep_spacing == "trailing") {
    // The arithmetic of numpy.arange(train, 0, -step), ties of the rounding included.
    const double step = (train - static_cast<double>(train) / n) - train;
    return rounded(train + k * step) - 1;
  }
  const int intervals = ends_at_zero ? n + 1 : n;
  const int from_start = intervals - 1 - k;
  if (schedule.timestep_spacing == "leading")
    return from_start * (train / intervals) + schedule.steps_offset;
  if (intervals == 1)
    return 0;
  if (k == 0)
    return train - 1;
  return rounded(from_start * (static_cast<double>(train - 1) / (intervals - 1)));
}

StepCoefficients make_coefficients(const Level& from) {
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
  std::vector<StepCoefficients> result;
  for (const int time : times) {
    const int previous = time - stride;
    const Level to = level_at(cumprod[static_cast<std::size_t>(previous >= 0 ? previous : 0)]);
    StepCoefficients step = make_coefficients(level_at(cumprod[static_cast<std::size_t>(time)]));
    step.x0 = static_cast<float>(to.alpha);
    step.epsilon = static_cast<float>(to.sigma);
    result.push_back(step);
  }
  return result;
}

std::vector<StepCoefficients> dpmsolver_multistep(const std::vector<double>& cumprod,
                                                  const std::vector<int>& times) {
  std::vector<Level> levels;
  for (const int time : times)
    levels.push_back(level_at(cumprod[static_cast<std::size_t>(time)]));
  levels.push_back({1.0, 0.0});

  std::vector<StepCoefficients> result;
  for (std::size_t i = 0; i < times.size(); ++i) {
    const Level& from = levels[i];
    const Level& to = levels[i + 1];
    StepCoefficients step = make_coefficients(from);
    step.sample = static_cast<float>(to.sigma / from.sigma);
    const double h = to.lambda() - from.lambda();  // infinite in the last step
    const double weight = -to.alpha * std::expm1(-h);
    const bool first_order = i == 0 || i + 1 == times.size();
    const double slope =
        first_order ? 0.0 : 0.5 * h / (from.lambda() - levels[i - 1].lambda());  // 1 / (2 r0)
    step.x0 = static_cast<float>(weight * (1.0 + slope));
    step.history = static_cast<float>(-weight * slope);
    result.push_back(step);
  }
  return result;
}

}  // namespace

std::string_view sampler_name(SamplerKind kind) {
  for (const auto& [known, name] : sampler_names)
    if (known == kind)
      return name;
  return "?";
}

std::optional<SamplerKind> sampler_kind(std::string_view name) {
  for (const auto& [kind, known] : sampler_names)
    if (known == name)
      return kind;
  return std::nullopt;
}

std::vector<double> alphas_cumprod(const NoiseSchedule& schedule) {
  check(schedule);
  const bool scaled = schedule.beta_schedule == "scaled_linear";
  const double first = scaled ? std::sqrt(schedule.beta_start) : schedule.beta_start;
  const double last = scaled ? std::sqrt(schedule.beta_end) : schedule.beta_end;
  const int train = schedule.num_train_timesteps;

  std::vector<double> result;
  double product = 1.0;
  for (int t = 0; t < train; ++t) {
    const double value = train == 1 ? first : first + (last - first) * t / (train - 1);
    product *= 1.0 - (scaled ? value * value : value);
    result.push_back(product);
  }
  return result;
}

std::vector<int> timesteps(const NoiseSchedule& schedule, int num_inference_steps,
                           SamplerKind kind) {
  check(schedule);
  const int train = schedule.num_train_timesteps;
  if (num_inference_steps < 1 || num_inference_steps > train)
    throw RequestError("num_inference_steps is " + std::to_string(num_inference_steps) +
                       ", expected 1 to " + std::to_string(train));
  std::vector<int> result;
  for (int k = 0; k < num_inference_steps; ++k) {
    const int time = timestep(schedule, kind, num_inference_steps, k);
    if (time < 0 || time >= train || (k > 0 && time >= result.back()))
      throw RequestError("num_inference_steps is " + std::to_string(num_inference_steps) +
                         ", too many for distinct timesteps from 0 to " +
                         std::to_string(train - 1) + " with \"" + schedule.timestep_spacing +
                         "\" spacing; ask for fewer");
    result.push_back(time);
  }
  return result;
}

Sampler::Sampler(SamplerKind kind, const NoiseSchedule& schedule, int num_inference_steps)
    : kind_(kind), timesteps_(fgdm::timesteps(schedule, num_inference_steps, kind)) {
  const std::vector<double> cumprod = alphas_cumprod(schedule);
  coefficients_ = kind == SamplerKind::ddim ? ddim(schedule, cumprod, timesteps_)
                                            : dpmsolver_multistep(cumprod, timesteps_);
}

const StepCoefficients& Sampler::coefficients(int index) const {
  if (index < 0 || static_cast<std::size_t>(index) >= coefficients_.size())
    throw RequestError("sampler step " + std::to_string(index) + " of " +
                       std::to_string(coefficients_.size()) + "; steps count from 0");
  return coefficients_[static_cast<std::size_t>(index)];
}

void advance(const StepCoefficients& step, std::span<const float> eps, std::span<float> sample,
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
