#pragma once

#include <filesystem>
#include <map>
#include <string>

#include "fgdm/api.h"
#include "fgdm/manifest.hpp"
#include "fgdm/palette.hpp"
#include "fgdm/tokenizer.hpp"

namespace fgdm {

// A bundle on disk whose every byte has been checked against its manifest.
class FGDM_API Bundle {
public:
  // Reads the manifest, checks it and every listed file (size, then SHA-256), and parses tokenizer
  // and palettes; no graph is loaded. Throws BundleError that names the file and what is wrong.
  static Bundle open(const std::filesystem::path& folder);

  const std::filesystem::path& folder() const { return folder_; }
  const Manifest& manifest() const { return manifest_; }
  const std::string& manifest_json() const { return manifest_json_; }
  const Tokenizer& tokenizer() const { return tokenizer_; }

  // The palette in a file that a factor names.
  const Palette& palette(const std::string& file) const { return palettes_.at(file); }

  std::filesystem::path graph_file(const std::string& graph) const;

private:
  Bundle(std::filesystem::path folder, Manifest manifest, std::string manifest_json,
         Tokenizer tokenizer);
  void load_palette(const std::string& file);
  void check_recolor(const ConditioningSpec& network) const;

  std::filesystem::path folder_;
  Manifest manifest_;
  std::string manifest_json_;
  Tokenizer tokenizer_;
  std::map<std::string, Palette> palettes_;
};

// Throws BundleError unless an engine would take this text as the metadata of a plan, which the
// file `name` holds, of a bundle with these files.
FGDM_API void check_plan(const std::string& json, const std::string& name,
                         const std::map<std::string, FileSpec>& files);

}  // namespace fgdm
