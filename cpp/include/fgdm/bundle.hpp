#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <string>

#include "fgdm/api.h"
#include "fgdm/bytes.hpp"
#include "fgdm/manifest.hpp"
#include "fgdm/palette.hpp"
#include "fgdm/tokenizer.hpp"

namespace fgdm {

class FileTree;  // a bundle's files, wherever they are

// A bundle whose every byte has been checked against its manifest.
class FGDM_API Bundle {
public:
  // Opens a folder, or an archive that `fgdm pack` made of one. Reads the manifest, checks it and
  // every listed file (size, then SHA-256), and parses tokenizer and palettes; no graph is loaded.
  // An archive is mapped: it may be removed or replaced by another meanwhile, but not changed or
  // shortened. Throws BundleError that names the file and what is wrong.
  static Bundle open(const std::filesystem::path& folder_or_archive);

  // An archive in memory, whose bytes are used where they lie: the owner keeps them, or else the
  // caller does, as long as this, a copy, or what was made from one is there. They begin at a
  // multiple of 16 (RequestError). Throws as above.
  static Bundle open(Bytes archive);

  const Manifest& manifest() const { return manifest_; }
  const std::string& manifest_json() const { return manifest_json_; }
  const Tokenizer& tokenizer() const { return tokenizer_; }

  // The palette in a file that a factor names.
  const Palette& palette(const std::string& file) const { return palettes_.at(file); }

  // Never null.
  const std::shared_ptr<const FileTree>& files() const { return files_; }

private:
  Bundle(std::shared_ptr<const FileTree> files, Manifest manifest, std::string manifest_json,
         Tokenizer tokenizer);
  static Bundle open(std::shared_ptr<const FileTree> files);
  void load_palette(const std::string& file);
  void check_recolor(const ConditioningSpec& network) const;

  std::shared_ptr<const FileTree> files_;
  Manifest manifest_;
  std::string manifest_json_;
  Tokenizer tokenizer_;
  std::map<std::string, Palette> palettes_;
};

// Throws BundleError unless a file is an archive as `fgdm pack` makes one; its content isn't read.
FGDM_API void check_archive(const std::filesystem::path& file);

// Throws BundleError unless an engine would take this text as the metadata of a plan, which the
// file `name` holds, of a bundle with these files.
FGDM_API void check_plan(const std::string& json, const std::string& name,
                         const std::map<std::string, FileSpec>& files);

}  // namespace fgdm
