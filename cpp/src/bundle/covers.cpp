#include "covers.hpp"

#include <filesystem>
#include <span>

#include "fgdm/sha256.hpp"

namespace fgdm {

std::string covers_key(const nlohmann::json& covers) {
  const auto text = covers.dump(-1, ' ', true);
  Sha256 hash;
  hash.update(std::as_bytes(std::span(text)));
  return hash.hex();
}

std::map<std::string, std::string> graph_files(const FileTree& bundle, const Manifest& manifest,
                                               const std::string& graph) {
  const auto& file = manifest.graph(graph).file;
  const auto folder = std::filesystem::path(file).parent_path();
  const bool large = manifest.files.at(file).size > most_text;
  const auto content = large ? std::string() : read_text(bundle, file);
  // ONNX names such files in the clear, by their way from the graph's folder.
  const auto refers_to = [&](const std::string& path) {
    return content.find(path) != std::string::npos ||
           content.find(std::filesystem::path(path).lexically_relative(folder).generic_string()) !=
               std::string::npos;
  };
  std::map<std::string, std::string> found;
  for (const auto& [path, spec] : manifest.files)
    if (large || path == file || refers_to(path))
      found[path] = spec.sha256;
  return found;
}

}  // namespace fgdm
