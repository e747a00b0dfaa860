#include "step_graphs.hpp"

#include <algorithm>

namespace fgdm {

std::vector<std::string> graphs_of_steps(const Manifest& manifest, const FactorSpec& factor,
                                         Shallow shallow) {
  std::vector<std::string> names;
  const auto add = [&](const std::string& graph) {
    if (!graph.empty() && std::ranges::find(names, graph) == names.end())
      names.push_back(graph);
  };
  add(manifest.backbone_of(factor));
  if (shallow == Shallow::all)
    for (const auto& levels : manifest.shallow)
      add(levels.graph);
  else if (factor.cache.interval > 1)
    add(manifest.shallow_of(factor.cache).graph);
  for (const auto& network : factor.conditionings) {
    add(network.graph);
    add(network.hint_graph);
  }
  return names;
}

StepGraphs::StepGraphs(const Manifest& manifest) {
  for (const auto& factor : manifest.factors) {
    const auto names = graphs_of_steps(manifest, factor, Shallow::all);
    steps_.emplace_back(names.begin(), names.end());
  }
}

bool StepGraphs::together(const std::string& graph, const std::string& other) const {
  return std::ranges::any_of(steps_, [&](const std::set<std::string>& step) {
    return step.contains(graph) && step.contains(other);
  });
}

}  // namespace fgdm
