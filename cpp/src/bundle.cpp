#include "fgdm/bundle.hpp"

#include <fstream>
#include <iterator>
#include <span>

#include "fgdm/error.hpp"
#include "fgdm/sha256.hpp"

namespace fgdm {
namespace {

namespace fs = std::filesystem;

constexpr const char* remedy = "; export the bundle again, or fetch a fresh copy of it";

std::string read(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file)
    throw BundleError(path.string() + " cannot be read" + remedy);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

// manifest.sha256 holds manifest.json's own hash, as sha256sum writes it.
void check_manifest(const fs::path& folder, const std::string& json) {
  Sha256 hash;
  hash.update(std::as_bytes(std::span(json)));
  if (read(folder / "manifest.sha256").substr(0, 64) != hash.hex())
    throw BundleError((folder / "manifest.json").string() +
                      " does not match manifest.sha256: one of them was altered" + remedy);
}

void check_files(const fs::path& folder, const Manifest& manifest) {
  for (const auto& [name, spec] : manifest.files) {
    const auto path = folder / name;
    std::error_code problem;
    const auto size = fs::file_size(path, problem);
    if (problem)
      throw BundleError(path.string() + " is missing" + remedy);
    if (size != spec.size)
      throw BundleError(path.string() + " has " + std::to_string(size) +
                        " bytes, the manifest says " + std::to_string(spec.size) +
                        " (truncated copy?)" + remedy);
    if (sha256_file(path) != spec.sha256)
      throw BundleError(path.string() + " was altered: its SHA-256 is not the manifest's" + remedy);
  }
}

}  // namespace

Bundle::Bundle(fs::path folder, Manifest manifest, std::string manifest_json, Tokenizer tokenizer)
    : folder_(std::move(folder)), manifest_(std::move(manifest)),
      manifest_json_(std::move(manifest_json)), tokenizer_(std::move(tokenizer)) {
  for (const auto& factor : manifest_.factors) {
    load_palette(factor.palette);
    for (const auto& network : factor.conditionings)
      load_palette(network.hint_palette);
  }
}

void Bundle::load_palette(const std::string& file) {
  if (!file.empty() && !palettes_.contains(file))
    palettes_.emplace(file, Palette::parse(read(folder_ / file)));
}

Bundle Bundle::open(const fs::path& folder) {
  if (!fs::is_directory(folder))
    throw BundleError(folder.string() + " is not a folder; give the path of a bundle, the folder " +
                      "that holds manifest.json");
  if (!fs::exists(folder / "manifest.json"))
    throw BundleError(folder.string() +
                      " holds no manifest.json, so it is not a bundle; make one " +
                      "with fgdm export");
  auto json = read(folder / "manifest.json");
  auto manifest = Manifest::parse(json);
  check_manifest(folder, json);
  check_files(folder, manifest);
  auto tokenizer = Tokenizer::load(folder / manifest.tokenizer, manifest.max_length);
  return {folder, std::move(manifest), std::move(json), std::move(tokenizer)};
}

fs::path Bundle::graph_file(const std::string& graph) const {
  return folder_ / manifest_.graph(graph).file;
}

}  // namespace fgdm
