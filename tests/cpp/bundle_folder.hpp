#pragma once

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <span>
#include <string>

#include "fgdm/sha256.hpp"

namespace fgdm::testing {

// A bundle in the making, in a folder of its own that goes with it: the shipped one's manifest,
// tokenizer and palette. The graphs are the test's to add.
class BundleFolder {
public:
  explicit BundleFolder(std::filesystem::path folder) : folder_(std::move(folder)) {
    const auto source = std::filesystem::path(FGDM_BUNDLES) / "scenes";
    std::filesystem::create_directories(folder_ / "tokenizer");
    std::ifstream(source / "manifest.json") >> manifest_;
    const auto shipped = manifest_["files"];
    manifest_["files"] = nlohmann::json::object();
    const auto overwrite = std::filesystem::copy_options::overwrite_existing;
    for (const auto& [name, file] : shipped.items())
      if (name.starts_with("tokenizer/") || name == "palette.json") {
        std::filesystem::copy_file(source / name, folder_ / name, overwrite);
        list(name);
      }
  }

  ~BundleFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(folder_, ignored);
  }
  BundleFolder(const BundleFolder&) = delete;
  BundleFolder& operator=(const BundleFolder&) = delete;

  const std::filesystem::path& path() const { return folder_; }

  // With the files added so far.
  const nlohmann::json& manifest() const { return manifest_; }

  // Writes a file that the manifest lists.
  void add(const std::string& name, std::string_view bytes) {
    std::ofstream(folder_ / name, std::ios::binary) << bytes;
    list(name);
  }

  // Makes these bytes the manifest, with the hash that fits.
  void save(std::string_view manifest) const {
    Sha256 hash;
    hash.update(std::as_bytes(std::span(manifest)));
    std::ofstream(folder_ / "manifest.json", std::ios::binary) << manifest;
    std::ofstream(folder_ / "manifest.sha256") << hash.hex() << "  manifest.json\n";
  }

private:
  void list(const std::string& name) {
    manifest_["files"][name] = {{"size", std::filesystem::file_size(folder_ / name)},
                                {"sha256", sha256_file(folder_ / name)}};
  }

  std::filesystem::path folder_;
  nlohmann::json manifest_;
};

}  // namespace fgdm::testing
