#include "bundle_graph.hpp"

#include <filesystem>

#include "file_tree.hpp"

namespace fgdm {

OrtGraph graph_of(const Bundle& bundle, const std::string& name) {
  const auto& files = *bundle.files();
  const auto& file = bundle.manifest().graph(name).file;
  if (auto path = files.path(file); !path.empty())
    return {std::move(path)};
  OrtGraph graph{{}, files.place(file), files.read(file, 0, files.size(file)), {}};
  const auto folder = std::filesystem::path(file).parent_path();
  for (const auto& [other, spec] : bundle.manifest().files) {
    const std::filesystem::path path(other);
    const auto called = folder.empty() ? path : path.lexically_relative(folder);
    graph.weights[called.generic_string()] = files.read(other, 0, files.size(other));
  }
  return graph;
}

}  // namespace fgdm
