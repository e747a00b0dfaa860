#include <nlohmann/json.hpp>

#include "fgdm/json.hpp"
#include "request_json.hpp"

namespace fgdm {
namespace {

using nlohmann::ordered_json;

// Of engine/result.schema.json.
constexpr int result_schema = 5;

ordered_json met_json(const std::vector<Met>& met) {
  auto list = ordered_json::array();
  for (const auto one : met)
    list.push_back(one == Met::unchecked ? ordered_json() : ordered_json(one == Met::yes));
  return list;
}

ordered_json requirements_of(const std::vector<RequirementText>& requirements) {
  auto list = ordered_json::array();
  for (const auto& [kind, text] : requirements)
    list.push_back({{"kind", kind}, {"text", text}});
  return list;
}

ordered_json size_of(const Pixels& pixels) {
  return {{"width", pixels.width}, {"height", pixels.height}};
}

ordered_json image_size(const Result& result) {
  if (!result.image_on_device)
    return size_of(result.image);
  const auto& shape = result.image_on_device.shape;
  return {{"width", shape.at(1)}, {"height", shape.at(0)}};
}

ordered_json candidates_of(const std::vector<Candidate>& candidates, std::uint64_t seed) {
  auto list = ordered_json::array();
  for (const auto& one : candidates)
    list.push_back({{"index", one.index},
                    {"seed", seed},
                    {"recall", one.recall},
                    {"found", one.found},
                    {"missing", one.missing},
                    {"smallest_area", one.smallest_area},
                    {"steps", one.steps},
                    {"pruned", one.pruned},
                    {"failed", one.failed},
                    {"met", met_json(one.met)},
                    {"compliance", one.compliance},
                    {"refused", one.refused}});
  return list;
}

ordered_json factor_json(const FactorResult& factor, std::uint64_t seed) {
  const auto& chosen = factor.candidates.at(static_cast<std::size_t>(factor.chosen));
  return {{"candidates", candidates_of(factor.candidates, seed)},
          {"chosen", factor.chosen},
          {"given", factor.given},
          {"requested", factor.requested},
          {"excluded", factor.excluded},
          {"unknown_pixels", factor.unknown_pixels},
          {"truncated", factor.truncated},
          {"negative_truncated", factor.negative_truncated},
          {"map", size_of(chosen.map)},
          {"timings", factor.timings},
          {"requirements", requirements_of(factor.requirements)},
          {"not_understood", factor.not_understood}};
}

}  // namespace

std::string result_json(const Result& result, const EngineInfo& info) {
  const Candidate none{-1, 1.0, {}, {}, 0.0, {}, {}, 0};
  const bool has_map = !result.candidates.empty();
  const auto& chosen =
      has_map ? result.candidates.at(static_cast<std::size_t>(result.chosen)) : none;
  auto factors = ordered_json::object();
  for (const auto& name : info.factors)
    if (const auto found = result.factors.find(name); found != result.factors.end())
      factors[name] = factor_json(found->second, result.seed);
  const ordered_json all{{"schema", result_schema},
                         {"prompt", result.request.prompt},
                         {"requested", result.requested},
                         {"excluded", result.excluded},
                         {"unread", result.unread},
                         {"unrecognized", result.unrecognized},
                         {"unrecognized_omitted", result.unrecognized_omitted},
                         {"truncated", result.truncated},
                         {"negative_truncated", result.negative_truncated},
                         {"recall", chosen.recall},
                         {"found", chosen.found},
                         {"missing", chosen.missing},
                         {"requirements", requirements_of(result.requirements)},
                         {"not_understood", result.not_understood},
                         {"met", met_json(chosen.met)},
                         {"compliance", chosen.compliance},
                         {"chosen", result.chosen},
                         {"candidates", candidates_of(result.candidates, result.seed)},
                         {"seed", result.seed},
                         {"map_rows", result.map_rows},
                         {"image", image_size(result)},
                         {"map", has_map ? size_of(chosen.map) : ordered_json()},
                         {"factors", std::move(factors)},
                         {"timings", result.timings},
                         {"parameters", parameters_of(result.request)},
                         {"engine",
                          {{"version", info.version},
                           {"bundle", info.bundle},
                           {"backend", info.backend},
                           {"precision", info.precision},
                           {"runtime", info.runtime}}}};
  return all.dump(-1, ' ', false, ordered_json::error_handler_t::replace);
}

}  // namespace fgdm
