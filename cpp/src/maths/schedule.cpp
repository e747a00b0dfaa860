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

constexpr std::array<std::pair<SamplerKind, std::string_view>, 8> sampler_names_of{
    {{SamplerKind::ddim, "ddim"},
     {SamplerKind::dpmsolver_multistep, "dpmsolver++"},
     {SamplerKind::dpmsolver_sde, "dpmsolver++_sde"},
     {SamplerKind::euler, "euler"},
     {SamplerKind::euler_ancestral, "euler_ancestral"},
     {SamplerKind::unipc, "unipc"},
     {SamplerKind::lcm, "lcm"},
     {SamplerKind::tcd, "tcd"}}};

constexpr std::array<std::pair<TimestepSpacing, std::string_view>, 5> spacing_names_of{
    {{TimestepSpacing::leading, "leading"},
     {TimestepSpacing::trailing, "trailing"},
     {TimestepSpacing::linspace, "linspace"},
     {TimestepSpacing::karras, "karras"},
     {TimestepSpacing::exponential, "exponential"}}};

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

TimestepSpacing NoiseSchedule::spacing(SamplerKind kind) const {
  switch (kind) {
  case SamplerKind::ddim:
    return ddim_spacing;
  case SamplerKind::lcm:
  case SamplerKind::tcd:
    return TimestepSpacing::trailing;
  default:
    return dpmsolver_spacing;
  }
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

}  // namespace fgdm
