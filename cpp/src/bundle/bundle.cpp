#include "fgdm/bundle.hpp"

#include <span>
#include <sstream>

#include "fgdm/error.hpp"
#include "fgdm/sha256.hpp"
#include "files.hpp"
#include "lora_file.hpp"
#include "wording.hpp"

namespace fgdm {
namespace {

namespace fs = std::filesystem;

constexpr const char* remedy = "; export the bundle again, or fetch a fresh copy of it";

// manifest.json's largest size in bytes.
constexpr std::size_t most_manifest = std::size_t{16} << 20U;

// The text of manifest.json, whose hash is in manifest.sha256, as sha256sum writes it: one line, or
// two while a manifest takes the place of another.
std::string read_manifest(const fs::path& folder) {
  for (int tries = 0; tries < 2; ++tries) {  // both may be replaced between the two reads
    auto json = read_file(folder / "manifest.json", most_manifest);
    std::istringstream recorded(read_file(folder / "manifest.sha256", 4096));
    Sha256 hash;
    hash.update(std::as_bytes(std::span(json)));
    const auto own = hash.hex();
    for (std::string line; std::getline(recorded, line);)
      if (line.substr(0, 64) == own)
        return json;
  }
  throw BundleError((folder / "manifest.json").string() +
                    " does not match manifest.sha256: one of them was altered" + remedy);
}

void check_files(const fs::path& folder, const Manifest& manifest) {
  for (const auto& [name, spec] : manifest.files) {
    const auto path = folder / name;
    std::error_code problem;
    if (fs::exists(path, problem) && !fs::is_regular_file(path, problem))
      throw BundleError(excerpt(path.string(), 300) + " is no regular file" + remedy);
    const auto size = fs::file_size(path, problem);
    if (problem)
      throw BundleError(excerpt(path.string(), 300) + " is missing" + remedy);
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
  for (const auto& factor : manifest_.factors)
    for (const auto& network : factor.conditionings)
      check_recolor(network);
}

// A map is recoloured in the middle of a request: what its table can't say is found before.
void Bundle::check_recolor(const ConditioningSpec& network) const {
  if (network.hint_palette.empty())
    return;
  for (const auto& maker : manifest_.factors)
    if (!maker.is_image && maker.name == network.condition)
      match_classes(palette(maker.palette), palette(network.hint_palette), network.recolor);
}

void Bundle::load_palette(const std::string& file) {
  if (!file.empty() && !palettes_.contains(file))
    palettes_.emplace(file, Palette::parse(read_file(folder_ / file)));
}

Bundle Bundle::open(const fs::path& folder) {
  std::error_code unknown;
  if (!fs::is_directory(folder, unknown))
    throw BundleError(folder.string() + " is not a folder; give the path of a bundle, the folder " +
                      "that holds manifest.json");
  std::error_code absent;
  if (fs::symlink_status(folder / "manifest.json", absent).type() == fs::file_type::not_found)
    throw BundleError(folder.string() +
                      " holds no manifest.json, so it is not a bundle; make one " +
                      "with fgdm export");
  auto json = read_manifest(folder);
  auto manifest = Manifest::parse(json);
  check_files(folder, manifest);
  for (const auto& lora : manifest.loras)
    LoraFile(folder, lora, manifest);  // throws what is wrong with it
  auto tokenizer = Tokenizer::load(folder / manifest.tokenizer, manifest.max_length);
  return {folder, std::move(manifest), std::move(json), std::move(tokenizer)};
}

fs::path Bundle::graph_file(const std::string& graph) const {
  return folder_ / manifest_.graph(graph).file;
}

}  // namespace fgdm
