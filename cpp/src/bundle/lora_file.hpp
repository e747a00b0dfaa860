#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>

#include "fgdm/manifest.hpp"
#include "file_tree.hpp"

namespace fgdm {

// A LoRA of a bundle: a safetensors file that holds, of each role that it changes ("backbone",
// "text_encoder"), what the role's graphs take as `lora_down` and `lora_up`.
class LoraFile {
public:
  // Reads the header. Throws BundleError unless the file holds both matrices of one role or more,
  // in the types and sizes of the graphs' inputs, of the LoRA's rank.
  LoraFile(std::shared_ptr<const FileTree> files, const LoraSpec& spec, const Manifest& manifest);

  bool changes(const std::string& role) const { return matrices_.contains(role + "." + lora_down); }

  // The numbers of `lora_down` or `lora_up` of a role that it changes. Throws BundleError.
  Bytes read(const std::string& role, const char* matrix) const;

private:
  struct Span {
    std::uint64_t offset, size;  // in the file, in bytes
  };

  std::shared_ptr<const FileTree> files_;
  std::string name_;
  std::map<std::string, Span> matrices_;
};

// The role of a graph that takes LoRAs: shallow backbones have that of the whole one.
std::string lora_role(const Manifest& manifest, const std::string& graph);

}  // namespace fgdm
