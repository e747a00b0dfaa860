#include "request_result.hpp"

#include <algorithm>
#include <chrono>

#include "device_inputs.hpp"

namespace fgdm {
namespace {

void add_seconds(Result& result, const JobState& job,
                 const std::map<std::string, Timings>& by_factor, const Took& took) {
  using Seconds = std::chrono::duration<double>;
  const double total = Seconds(JobState::Clock::now() - took.began).count();
  Timings all;
  for (const auto& [name, timings] : by_factor) {
    all.add(timings);
    if (const auto found = result.factors.find(name); found != result.factors.end())
      found->second.timings = timings.seconds();
  }
  result.timings = all.seconds();
  result.timings["queue"] = Seconds(took.began - job.submitted).count();
  result.timings["waiting"] = std::max(0.0, took.sessions - all.total());
  result.timings["core"] = std::max(0.0, total - took.sessions);
  result.timings["total"] = total;
}

void show_main_factor(Result& result, const JobState& job, const Bundle& bundle) {
  const auto& factors = bundle.manifest().factors;
  const FactorSpec* main = nullptr;
  const FactorTexts* texts = nullptr;
  for (std::size_t i = 0; i < factors.size(); ++i)
    if (const auto& factor = factors[i];
        result.factors.contains(factor.name) &&
        (main == nullptr || factor.makes_labels() || !main->makes_labels())) {
      main = &factor;
      texts = &job.texts.factors[i];
    }
  if (main == nullptr)
    return;
  const auto& shown = result.factors.at(main->name);
  result.candidates = shown.candidates;
  result.chosen = shown.chosen;
  result.requested = shown.requested;
  result.excluded = shown.excluded;
  result.requirements = shown.requirements;
  result.not_understood = shown.not_understood;
  result.unrecognized = texts->unrecognized;
  result.unrecognized_omitted = texts->unrecognized_omitted;
  if (main->makes_labels())
    result.unread = names_of(bundle.palette(main->palette), texts->unread);
}

}  // namespace

std::vector<std::string> names_of(const Palette& palette, const std::vector<int>& indices) {
  std::vector<std::string> names;
  for (const int index : indices)
    names.push_back(palette.classes()[static_cast<std::size_t>(index)].name);
  return names;
}

Result begun_result(const JobState& job) {
  Result result;
  result.seed = *job.request.seed;
  result.truncated = job.texts.truncated;
  result.negative_truncated = job.texts.negative_truncated;
  return result;
}

FactorResult begun_result(const JobState& job, const Bundle& bundle, std::size_t factor) {
  const auto& spec = bundle.manifest().factors[factor];
  const auto& texts = job.texts.factors.at(factor);
  FactorResult result;
  result.truncated = texts.truncated;
  result.negative_truncated = texts.negative_truncated;
  if (const auto map = job.maps.find(spec.name); map != job.maps.end())
    result.unknown_pixels = map->second.unknown_pixels;
  if (spec.makes_labels()) {
    const auto& palette = bundle.palette(spec.palette);
    result.requested = names_of(palette, texts.requested);
    result.excluded = names_of(palette, texts.excluded);
    result.requirements = describe(palette, texts.required);
    result.not_understood = texts.not_understood;
  }
  return result;
}

void finish(Result& result, const JobState& job, const Bundle& bundle,
            const std::map<std::string, Timings>& by_factor, const Took& took) {
  add_seconds(result, job, by_factor, took);
  show_main_factor(result, job, bundle);
  result.request = job.request;
  release_arrays(result.request);
}

}  // namespace fgdm
