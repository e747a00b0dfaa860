#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <utility>

#include "fgdm/error.hpp"
#include "fgdm/schedule.hpp"
#include "noise_levels.hpp"

namespace fgdm {

namespace {

// Rounds half to even, as NumPy does.
double rounded(double value) {
  return std::nearbyint(value);
}

bool is_euler(SamplerKind kind) {
  return kind == SamplerKind::euler || kind == SamplerKind::euler_ancestral;
}

bool is_distilled(SamplerKind kind) {
  return kind == SamplerKind::lcm || kind == SamplerKind::tcd;
}

// DDIM's relatives are about timesteps; all others are about noise levels.
bool is_of_timesteps(SamplerKind kind) {
  return kind == SamplerKind::ddim || is_distilled(kind);
}

bool is_of_levels(TimestepSpacing spacing) {
  return spacing == TimestepSpacing::karras || spacing == TimestepSpacing::exponential;
}

// What a sampler makes of a number of steps. The multistep solvers' spacings have one more interval
// than the others': their last step ends at sigma = 0 and not at a timestep.
struct Spacing {
  SamplerKind sampler;
  TimestepSpacing kind;
  int train, offset, steps, intervals;
  bool needs_picture;  // divides by what is left of the picture

  Spacing(const NoiseSchedule& schedule, SamplerKind sampled_by, TimestepSpacing spacing, int n)
      : sampler(sampled_by), kind(spacing), train(schedule.num_train_timesteps),
        offset(schedule.steps_offset), steps(n),
        intervals(is_of_timesteps(sampled_by) || is_euler(sampled_by) ? n : n + 1),
        needs_picture(is_of_timesteps(sampled_by) && schedule.ends_in_noise() &&
                      schedule.prediction == Prediction::epsilon) {}

  // LCM and TCD visit some of the timesteps that their models were distilled on: 50 "trailing"
  // ones.
  static constexpr int distilled = 50;

  // The k-th timestep, counted from the noisy end.
  double at(int k) const {
    if (kind == TimestepSpacing::trailing && is_distilled(sampler)) {
      const int chosen = static_cast<int>(k * (static_cast<double>(distilled) / steps));
      return (distilled - chosen) * (train / distilled) - 1;
    }
    if (kind == TimestepSpacing::trailing) {
      // The arithmetic of numpy.arange(train, 0, -step), ties of the rounding included.
      const double step = (train - static_cast<double>(train) / steps) - train;
      return rounded(train + k * step) - 1;
    }
    const int from_start = intervals - 1 - k;
    if (kind == TimestepSpacing::leading)
      return from_start * (train / intervals) + offset;
    if (intervals == 1)
      return 0;
    if (k == 0)
      return train - 1;
    const double even = from_start * (static_cast<double>(train - 1) / (intervals - 1));
    return is_euler(sampler) ? static_cast<double>(static_cast<float>(even)) : rounded(even);
  }

  // Whether the timesteps are distinct training timesteps.
  bool fits() const {
    if (is_of_levels(kind))
      return steps <= train;
    if (kind == TimestepSpacing::trailing)
      return steps <= (!is_distilled(sampler) ? train : train < distilled ? 0 : distilled);
    if (intervals > train)  // else neighbours are at least 1 apart
      return false;
    return kind == TimestepSpacing::linspace || at(0) < train;
  }

  // Whether they reach the noise. The whole-numbered stride of "leading" spacing can leave up to
  // half of the schedule out; sampling would then begin with noise where the model expects more
  // picture than noise.
  bool spans() const {
    return kind != TimestepSpacing::leading ||
           4 * std::int64_t{intervals} * (train / intervals) >= 3 * std::int64_t{train};
  }

  // Whether every timestep has some picture that the predicted noise can be told from.
  bool predicts() const { return !needs_picture || at(0) < train - 1; }
};

bool works(const NoiseSchedule& schedule, SamplerKind kind, TimestepSpacing spacing, int n) {
  const Spacing points(schedule, kind, spacing, n);
  return points.fits() && points.spans() && points.predicts();
}

// "the nearest that work are 333 and 375".
std::string nearest(const NoiseSchedule& schedule, SamplerKind kind, TimestepSpacing spacing,
                    int n) {
  const int train = schedule.num_train_timesteps;
  int below = std::clamp(n, 0, train + 1) - 1;
  while (below > 0 && !works(schedule, kind, spacing, below))
    --below;
  int above = std::clamp(n, 0, train) + 1;
  while (above <= train && !works(schedule, kind, spacing, above))
    ++above;
  if (below < 1 && above > train)
    return "no number of steps works with this schedule";
  if (below < 1)
    return "the least that works is " + std::to_string(above);
  if (above > train)
    return "the most that works is " + std::to_string(below);
  return "the nearest that work are " + std::to_string(below) + " and " + std::to_string(above);
}

// Where between the training timesteps a noise level lies, by the logarithm of sigma / alpha.
double timestep_of(double ratio, const std::vector<double>& trained) {
  const auto above = std::ranges::upper_bound(trained, ratio);
  const auto last = std::ssize(trained) - 2;
  const auto low =
      std::clamp<std::ptrdiff_t>(above - trained.begin() - 1, 0, std::max<std::ptrdiff_t>(last, 0));
  if (last < 0)
    return 0.0;
  const double from = std::log(trained[static_cast<std::size_t>(low)]);
  const double to = std::log(trained[static_cast<std::size_t>(low) + 1]);
  return static_cast<double>(low) + std::clamp((std::log(ratio) - from) / (to - from), 0.0, 1.0);
}

// The ratio sigma / alpha after a fraction of the way from the largest to the smallest.
double spaced_ratio(TimestepSpacing spacing, double largest, double smallest, double fraction) {
  if (spacing == TimestepSpacing::exponential)
    return std::exp(std::log(largest) + fraction * (std::log(smallest) - std::log(largest)));
  constexpr double rho = 7.0;
  const double from = std::pow(largest, 1.0 / rho), to = std::pow(smallest, 1.0 / rho);
  return std::pow(from + fraction * (to - from), rho);
}

// The whole-numbered timesteps of the multistep solvers are rounded as in diffusers.
std::vector<StepStart> spaced_levels(const std::vector<double>& cumprod, int n, SamplerKind kind,
                                     TimestepSpacing spacing) {
  std::vector<double> trained;
  for (const double level : cumprod)
    trained.push_back(ratio_at(level));
  std::vector<StepStart> starts;
  for (int k = 0; k < n; ++k) {
    const double fraction = n == 1 ? 0.0 : k / static_cast<double>(n - 1);
    const double ratio = spaced_ratio(spacing, trained.back(), trained.front(), fraction);
    double timestep = timestep_of(ratio, trained);
    if (!is_euler(kind))
      timestep =
          spacing == TimestepSpacing::karras ? rounded(timestep) : std::floor(timestep + 1e-4);
    starts.push_back({timestep, level_of(ratio)});
  }
  return starts;
}

// The level at a timestep; between two of them sigma / alpha is interpolated, as diffusers does.
NoiseLevel level_between(const std::vector<double>& cumprod, double timestep) {
  const auto low = static_cast<std::size_t>(timestep);
  const double part = timestep - static_cast<double>(low);
  if (part == 0.0)
    return level_at(cumprod[low]);
  const double from = ratio_at(cumprod[low]), to = ratio_at(cumprod[low + 1]);
  return level_of(from + part * (to - from));
}

}  // namespace

bool has_spacing(SamplerKind kind, TimestepSpacing spacing) {
  return !is_of_levels(spacing) || !is_of_timesteps(kind);
}

std::vector<StepStart> step_starts(const NoiseSchedule& schedule, int num_inference_steps,
                                   SamplerKind kind, std::optional<TimestepSpacing> spacing,
                                   std::string_view asked) {
  auto cumprod = alphas_cumprod(schedule);
  const int n = num_inference_steps;
  const auto chosen = spacing.value_or(schedule.spacing(kind));
  const auto refuse = [&](const std::string& why) {
    throw RequestError(std::string(asked) + " is " + std::to_string(n) + "; " + why + "; " +
                       nearest(schedule, kind, chosen, n));
  };
  const int train = schedule.num_train_timesteps;
  const std::string spaced = "\"" + std::string(spacing_name(chosen)) + "\" spacing of \"" +
                             std::string(sampler_name(kind)) + "\"";
  if (!has_spacing(kind, chosen))
    throw RequestError(spaced +
                       " does not exist: this sampler goes by timesteps; expected \"leading\", "
                       "\"trailing\" or \"linspace\"");
  if (n < 1)
    refuse("expected at least 1");
  const Spacing points(schedule, kind, chosen, n);
  if (n > train || !points.fits())
    refuse(spaced + " has not so many distinct timesteps from 0 to " + std::to_string(train - 1));
  const auto first = [&] { return std::to_string(static_cast<int>(points.at(0))); };
  if (!points.spans())
    refuse(spaced + " would begin at timestep " + first() + " of " + std::to_string(train) +
           " and skip all noisier ones");
  if (!points.predicts())
    refuse(spaced + " would begin at timestep " + std::to_string(train - 1) +
           ", where this schedule has nothing but noise, which this sampler can't start from "
           "(\"dpmsolver++\" can)");
  if (!is_of_timesteps(kind))
    cumprod = with_some_picture(std::move(cumprod));
  if (is_of_levels(chosen))
    return spaced_levels(cumprod, n, kind, chosen);
  std::vector<StepStart> starts;
  for (int k = 0; k < n; ++k)
    starts.push_back({points.at(k), level_between(cumprod, points.at(k))});
  return starts;
}

std::vector<double> timesteps(const NoiseSchedule& schedule, int num_inference_steps,
                              SamplerKind kind, std::optional<TimestepSpacing> spacing,
                              std::string_view asked) {
  std::vector<double> times;
  for (const auto& start : step_starts(schedule, num_inference_steps, kind, spacing, asked))
    times.push_back(start.timestep);
  return times;
}

std::string known_weakness(const NoiseSchedule& schedule, int num_inference_steps, SamplerKind kind,
                           TimestepSpacing spacing) {
  const int train = schedule.num_train_timesteps;
  const int n = num_inference_steps;
  if (is_of_levels(spacing) || n < 1 || n > train || !works(schedule, kind, spacing, n))
    return "";
  const double first = Spacing(schedule, kind, spacing, n).at(0);
  // Measured on the bundled model: 20 steps that begin at 951 are sound, 10 at 901 lose objects.
  if (first >= 0.95 * (train - 1))
    return "";
  const std::string sampler(sampler_name(kind)), name(spacing_name(spacing));
  return std::to_string(n) + (n == 1 ? " step of " : " steps of ") + sampler + " with " + name +
         (n == 1 ? " spacing begins at" : " spacing begin at") + " timestep " +
         std::to_string(static_cast<int>(first)) + " of " + std::to_string(train) +
         ", where the model expects part of a picture and is given noise alone; trailing spacing "
         "begins at the last";
}

}  // namespace fgdm
