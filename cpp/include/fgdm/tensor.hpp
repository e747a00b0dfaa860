#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "fgdm/api.h"

namespace fgdm {

/// Element types that cross a session's boundary.
enum class DType { float32, float16, bfloat16, int64, int32, uint8, boolean };

/// The name a manifest uses for a type, such as "float32".
FGDM_API std::string_view dtype_name(DType dtype);

/// The type with that name. Throws BundleError for any other word.
FGDM_API DType dtype_from_name(std::string_view name);

/// Bytes of one element.
FGDM_API std::size_t dtype_size(DType dtype);

/// Where memory lies: on the host, or on the GPU that a session runs on.
enum class Place { host, gpu };

/// A dense row-major tensor that somebody else owns.
struct FGDM_API TensorView {
  DType dtype = DType::float32;
  std::vector<std::int64_t> shape;
  void* data = nullptr;
  Place place = Place::host;

  std::size_t elements() const;
  std::size_t bytes() const;
};

/// A tensor and the graph input or output it is bound to.
struct FGDM_API NamedTensor {
  std::string_view name;
  TensorView tensor;
};

/// An input or output as a graph declares it; -1 marks a dynamic dimension.
struct FGDM_API TensorSpec {
  std::string name;
  DType dtype = DType::float32;
  std::vector<std::int64_t> shape;
};

}  // namespace fgdm
