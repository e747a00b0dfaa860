#pragma once

#include <map>
#include <nlohmann/json.hpp>
#include <string>

#include "fgdm/manifest.hpp"
#include "file_tree.hpp"

namespace fgdm {

// The key of a compiled graph, a plan or a context: the SHA-256 of all that it depends on, as
// `fgdm build` makes it: sorted keys, no spaces, ASCII.
std::string covers_key(const nlohmann::json& covers);

// The SHA-256, by their paths in the bundle, of a graph's file and of the weight files that it
// refers to: those of the manifest whose path is in it, or of a graph of more than 64 MiB, all of
// them. Throws BundleError if it can't be read.
std::map<std::string, std::string> graph_files(const FileTree& bundle, const Manifest& manifest,
                                               const std::string& graph);

}  // namespace fgdm
