#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace fgdm::ort {

// A weight of a model that lies in another file.
struct ExternalWeight {
  std::string name;
  int type;  // by ONNX's number, which is the runtime's too
  std::vector<std::int64_t> shape;
  std::string file;  // as the model calls it
  std::uint64_t offset = 0;
  std::optional<std::uint64_t> size;  // in bytes; unset: to the file's end
};

// Those of a model's bytes (onnx.proto). Throws BackendError, with the reason alone, for bytes that
// aren't a model's.
std::vector<ExternalWeight> external_weights(std::span<const std::byte> model);

}  // namespace fgdm::ort
