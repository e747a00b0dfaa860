#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace fgdm {

/// Element types that cross a session's boundary.
enum class DType { float32, float16, bfloat16, int64, int32, uint8, boolean };

/// The name a manifest uses for a type, such as "float32".
std::string_view dtype_name(DType dtype);

/// The type with that name. Throws BundleError for any other word.
DType dtype_from_name(std::string_view name);

/// Bytes of one element.
std::size_t dtype_size(DType dtype);

/// Where memory lies: on the host, or on the GPU that a session runs on.
enum class Place { host, gpu };

/// A dense row-major tensor that somebody else owns.
struct TensorView {
  DType dtype = DType::float32;
  std::vector<std::int64_t> shape;
  void* data = nullptr;
  Place place = Place::host;

  std::size_t elements() const;
  std::size_t bytes() const;
};

/// A tensor and the graph input or output it is bound to.
struct NamedTensor {
  std::string_view name;
  TensorView tensor;
};

/// An input or output as a graph declares it; -1 marks a dynamic dimension.
struct TensorSpec {
  std::string name;
  DType dtype = DType::float32;
  std::vector<std::int64_t> shape;
};

/// One loaded graph on one runtime.
///
/// Implementations read inputs from, and write outputs to, the caller's memory without copies where
/// the runtime allows it. One session runs one call at a time. Tensors on a GPU are only for
/// sessions that run there; those take tensors of both places.
class Session {
public:
  virtual ~Session() = default;

  virtual std::span<const TensorSpec> inputs() const = 0;
  virtual std::span<const TensorSpec> outputs() const = 0;

  /// Runs the graph once. Every declared input and every wanted output is given by name, with its
  /// final shape. Throws BackendError, or OutOfMemoryError where the runtime says it is that.
  virtual void run(std::span<const NamedTensor> inputs, std::span<const NamedTensor> outputs) = 0;

  /// Rows that all calls so far computed beyond those they were given, to fill up a plan's batch.
  virtual std::int64_t padding() const { return 0; }
};

}  // namespace fgdm
