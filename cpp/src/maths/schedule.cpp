#include "fgdm/schedule.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <utility>

#include "fgdm/error.hpp"

namespace fgdm {

namespace {

constexpr std::array<std::pair<SamplerKind, std::string_view>, 2> sampler_names_of{
    {{SamplerKind::ddim, "ddim"}, {SamplerKind::dpmsolver_multistep, "dpmsolver++"}}};

constexpr std::array<std::pair<TimestepSpacing, std::string_view>, 3> spacing_names_of{
    {{TimestepSpacing::leading, "leading"},
     {TimestepSpacing::trailing, "trailing"},
     {TimestepSpacing::linspace, "linspace"}}};

// "" for a value that is no enumerator, which only a cast can make.
template <typename Names, typename Value>
std::string_view name_of(const Names& names, Value value) {
  const auto found = std::ranges::find(names, value, &Names::value_type::first);
  return found == names.end() ? std::string_view() : found->second;
}

template <typename Names>
auto named(const Names& names, std::string_view name)
    -> std::optional<typename Names::value_type::first_type> {
  const auto* found = std::ranges::find(names, name, &Names::value_type::second);
  return found == names.end() ? std::nullopt : std::optional(found->first);
}

template <typename Names> std::string listed(const Names& names) {
  std::string all;
  for (const auto& entry : names) {
    if (!all.empty())
      all += entry == names.back() ? " or " : ", ";
    all += "\"" + std::string(entry.second) + "\"";
  }
  return all;
}

[[noreturn]] void fail(const std::string& what) {
  throw BundleError("noise schedule: " + what + "; correct \"scheduler\" in the bundle's manifest");
}

void check_betas(const NoiseSchedule& schedule) {
  const auto& betas = schedule.trained_betas;
  if (betas.size() != static_cast<std::size_t>(schedule.num_train_timesteps))
    fail("trained_betas has " + std::to_string(betas.size()) + " values, expected " +
         std::to_string(schedule.num_train_timesteps) + ", one for each training timestep");
  for (std::size_t t = 0; t < betas.size(); ++t) {
    const bool is_last = t + 1 == betas.size();
    if (!(betas[t] > 0.0 && (betas[t] < 1.0 || (is_last && betas[t] == 1.0))))
      fail("trained_betas[" + std::to_string(t) + "] is " + std::to_string(betas[t]) +
           ", expected more than 0 and less than 1 (the last may be 1)");
  }
}

void check(const NoiseSchedule& schedule) {
  if (schedule.num_train_timesteps < 1)
    fail("num_train_timesteps is " + std::to_string(schedule.num_train_timesteps) +
         ", expected at least 1");
  if (schedule.steps_offset < 0)
    fail("steps_offset is " + std::to_string(schedule.steps_offset) + ", expected at least 0");
  if (!schedule.trained_betas.empty())
    return check_betas(schedule);
  if (!(0.0 < schedule.beta_start && schedule.beta_start <= schedule.beta_end &&
        schedule.beta_end < 1.0))
    fail("beta_start is " + std::to_string(schedule.beta_start) + " and beta_end " +
         std::to_string(schedule.beta_end) + ", expected 0 < beta_start <= beta_end < 1");
  if (schedule.beta_schedule != "scaled_linear" && schedule.beta_schedule != "linear")
    fail("beta_schedule is \"" + schedule.beta_schedule +
         "\", expected \"scaled_linear\", \"linear\" or trained_betas beside it");
}

double beta(const NoiseSchedule& schedule, int t) {
  if (!schedule.trained_betas.empty())
    return schedule.trained_betas[static_cast<std::size_t>(t)];
  const bool scaled = schedule.beta_schedule == "scaled_linear";
  const double first = scaled ? std::sqrt(schedule.beta_start) : schedule.beta_start;
  const double last = scaled ? std::sqrt(schedule.beta_end) : schedule.beta_end;
  const int train = schedule.num_train_timesteps;
  const double value = train == 1 ? first : first + (last - first) * t / (train - 1);
  return scaled ? value * value : value;
}

// Rounds half to even, as NumPy does.
int rounded(double value) {
  return static_cast<int>(std::nearbyint(value));
}

// What a sampler makes of a number of steps. DPM-Solver's spacings have one more interval than
// DDIM's: its last step ends at sigma = 0 and not at a timestep.
struct Spacing {
  TimestepSpacing kind;
  int train, offset, steps, intervals;
  bool needs_picture;  // DDIM divides by what is left of the picture

  Spacing(const NoiseSchedule& schedule, SamplerKind sampler, TimestepSpacing spacing, int n)
      : kind(spacing), train(schedule.num_train_timesteps), offset(schedule.steps_offset), steps(n),
        intervals(sampler == SamplerKind::ddim ? n : n + 1),
        needs_picture(sampler == SamplerKind::ddim && !schedule.trained_betas.empty() &&
                      schedule.trained_betas.back() == 1.0) {}

  // The k-th timestep, counted from the noisy end.
  int at(int k) const {
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
    return rounded(from_start * (static_cast<double>(train - 1) / (intervals - 1)));
  }

  // Whether the timesteps are distinct training timesteps.
  bool fits() const {
    if (kind == TimestepSpacing::trailing)
      return steps <= train;
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
  const Spacing spaced(schedule, kind, spacing, n);
  return spaced.fits() && spaced.spans() && spaced.predicts();
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

}  // namespace

std::string_view sampler_name(SamplerKind kind) {
  return name_of(sampler_names_of, kind);
}

std::optional<SamplerKind> sampler_kind(std::string_view name) {
  return named(sampler_names_of, name);
}

std::string_view spacing_name(TimestepSpacing spacing) {
  return name_of(spacing_names_of, spacing);
}

std::optional<TimestepSpacing> timestep_spacing(std::string_view name) {
  return named(spacing_names_of, name);
}

std::string sampler_names() {
  return listed(sampler_names_of);
}

std::string spacing_names() {
  return listed(spacing_names_of);
}

std::vector<double> alphas_cumprod(const NoiseSchedule& schedule) {
  check(schedule);
  std::vector<double> result;
  double product = 1.0;
  for (int t = 0; t < schedule.num_train_timesteps; ++t) {
    if (product < 1e-30)  // in float32 all that follows would be infinite
      fail("no picture is left at timestep " + std::to_string(t) + " of " +
           std::to_string(schedule.num_train_timesteps) + ", expected some before the last");
    product *= 1.0 - beta(schedule, t);
    result.push_back(product);
  }
  return result;
}

std::vector<int> timesteps(const NoiseSchedule& schedule, int num_inference_steps, SamplerKind kind,
                           std::optional<TimestepSpacing> spacing, std::string_view asked) {
  check(schedule);
  const int n = num_inference_steps;
  const auto chosen = spacing.value_or(schedule.spacing(kind));
  const auto refuse = [&](const std::string& why) {
    throw RequestError(std::string(asked) + " is " + std::to_string(n) + "; " + why + "; " +
                       nearest(schedule, kind, chosen, n));
  };
  const int train = schedule.num_train_timesteps;
  const std::string spaced = "\"" + std::string(spacing_name(chosen)) + "\" spacing of \"" +
                             std::string(sampler_name(kind)) + "\"";
  if (n < 1)
    refuse("expected at least 1");
  if (n > train || !Spacing(schedule, kind, chosen, n).fits())
    refuse(spaced + " has not so many distinct timesteps from 0 to " + std::to_string(train - 1));
  const Spacing points(schedule, kind, chosen, n);
  if (!points.spans())
    refuse(spaced + " would begin at timestep " + std::to_string(points.at(0)) + " of " +
           std::to_string(train) + " and skip all noisier ones");
  if (!points.predicts())
    refuse(
        spaced + " would begin at timestep " + std::to_string(train - 1) +
        ", where this schedule has nothing but noise, which DDIM can't start from (\"dpmsolver++\" "
        "can)");
  std::vector<int> result;
  for (int k = 0; k < n; ++k)
    result.push_back(points.at(k));
  return result;
}

}  // namespace fgdm
