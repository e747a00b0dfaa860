#include "fgdm/bundle.hpp"

#include <span>
#include <sstream>
#include <utility>

#include "fgdm/error.hpp"
#include "fgdm/sha256.hpp"
#include "file_tree.hpp"
#include "lora_file.hpp"
#include "wording.hpp"

namespace fgdm {
namespace {

namespace fs = std::filesystem;

// manifest.json's largest size in bytes.
constexpr std::size_t most_manifest = std::size_t{16} << 20U;

// The text of manifest.json, whose hash is in manifest.sha256, as sha256sum writes it: one line, or
// two while a manifest takes the place of another.
std::string read_manifest(const FileTree& files) {
  for (int tries = 0; tries < 2; ++tries) {  // both may be replaced between the two reads
    auto json = read_text(files, "manifest.json", most_manifest);
    std::istringstream recorded(read_text(files, "manifest.sha256", 4096));
    Sha256 hash;
    hash.update(std::as_bytes(std::span(json)));
    const auto own = hash.hex();
    for (std::string line; std::getline(recorded, line);)
      if (line.substr(0, 64) == own)
        return json;
  }
  throw BundleError(files.place("manifest.json") +
                    " does not match manifest.sha256: one of them was altered" + files.remedy());
}

void check_files(const FileTree& files, const Manifest& manifest) {
  for (const auto& [name, spec] : manifest.files) {
    const auto size = files.size(name);
    if (size != spec.size)
      throw BundleError(files.place(name) + " has " + std::to_string(size) +
                        " bytes, the manifest says " + std::to_string(spec.size) +
                        " (truncated copy?)" + files.remedy());
    if (files.sha256(name) != spec.sha256)
      throw BundleError(files.place(name) + " was altered: its SHA-256 is not the manifest's" +
                        files.remedy());
  }
}

}  // namespace

Bundle::Bundle(std::shared_ptr<const FileTree> files, Manifest manifest, std::string manifest_json,
               Tokenizer tokenizer)
    : files_(std::move(files)), manifest_(std::move(manifest)),
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
    palettes_.emplace(file, Palette::parse(read_text(*files_, file)));
}

Bundle Bundle::open(const fs::path& folder_or_archive) {
  std::error_code unknown;
  if (fs::is_regular_file(folder_or_archive, unknown))
    return open(archive_tree(folder_or_archive));
  if (!fs::is_directory(folder_or_archive, unknown))
    throw BundleError(
        excerpt(folder_or_archive.string(), 300) + " is neither a folder nor an archive" +
        (unknown ? " (" + unknown.message() + ")" : "") +
        "; give the path of a bundle, the folder that holds manifest.json or what fgdm pack made "
        "of it");
  return open(folder_tree(folder_or_archive));
}

Bundle Bundle::open(Bytes archive) {
  return open(archive_tree(std::move(archive)));
}

void check_archive(const fs::path& file) {
  archive_tree(file);
}

Bundle Bundle::open(std::shared_ptr<const FileTree> files) {
  if (!files->has("manifest.json"))
    throw BundleError(files->place("manifest.json") +
                      " isn't there, so this is no bundle; make one with fgdm export");
  auto json = read_manifest(*files);
  auto manifest = Manifest::parse(json);
  check_files(*files, manifest);
  for (const auto& lora : manifest.loras)
    LoraFile(files, lora, manifest);  // throws what is wrong with it
  auto tokenizer = Tokenizer::load(TreeFolder{files, manifest.tokenizer}, manifest.max_length);
  return {std::move(files), std::move(manifest), std::move(json), std::move(tokenizer)};
}

}  // namespace fgdm
