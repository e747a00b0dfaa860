#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "fgdm/manifest.hpp"

namespace fgdm {

// A LoRA of a bundle: a safetensors file that holds, of each role that it changes ("backbone",
// "text_encoder"), what the role's graphs take as `lora_down` and `lora_up`.
class LoraFile {
public:
  // Reads the header. Throws BundleError unless the file holds both matrices of one role or more,
  // in the types and sizes of the graphs' inputs, of the LoRA's rank.
  LoraFile(const std::filesystem::path& folder, const LoraSpec& spec, const Manifest& manifest);

  bool changes(const std::string& role) const { return matrices_.contains(role + "." + lora_down); }

  // The numbers of `lora_down` or `lora_up` of a role that it changes. Throws BundleError.
  std::vector<std::byte> read(const std::string& role, const char* matrix) const;

private:
  struct Span {
    std::uint64_t offset, size;  // in the file, in bytes
  };

  std::filesystem::path path_;
  std::map<std::string, Span> matrices_;
};

// The role of a graph that takes LoRAs: shallow backbones have that of the whole one.
std::string lora_role(const Manifest& manifest, const std::string& graph);

}  // namespace fgdm
