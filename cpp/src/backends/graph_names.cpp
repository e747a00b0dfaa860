#include "graph_names.hpp"

#include <algorithm>

#include "step_graphs.hpp"

namespace fgdm {
namespace {

void add(std::vector<std::string>& names, const std::string& graph) {
  if (!graph.empty() && std::ranges::find(names, graph) == names.end())
    names.push_back(graph);
}

std::vector<std::string> names_of(const Manifest& manifest, Optional optional, Shallow shallow) {
  std::vector<std::string> names;
  add(names, manifest.text_encoder);
  for (const auto& factor : manifest.factors) {
    if (factor.optional && optional == Optional::leave)
      continue;
    for (const auto& graph : graphs_of_steps(manifest, factor, shallow))
      add(names, graph);
  }
  add(names, manifest.vae_decoder);
  add(names, manifest.preview_decoder);
  return names;
}

}  // namespace

std::vector<std::string> graph_names(const Manifest& manifest, Optional optional) {
  return names_of(manifest, optional, Shallow::by_itself);
}

std::vector<std::string> later_names(const Manifest& manifest,
                                     const std::vector<std::string>& first) {
  std::vector<std::string> names;
  for (const auto& [name, graph] : manifest.graphs)
    if (std::ranges::find(first, name) == first.end())
      names.push_back(name);
  return names;
}

std::vector<std::string> all_names(const Manifest& manifest) {
  auto names = names_of(manifest, Optional::load, Shallow::all);
  add(names, manifest.vae_encoder);
  return names;
}

}  // namespace fgdm
