#pragma once

#include <cstdint>
#include <span>

#include "fgdm/api.h"
#include "fgdm/tensor.hpp"

namespace fgdm {

/// One loaded graph on one runtime.
///
/// Implementations read inputs from, and write outputs to, the caller's memory without copies where
/// the runtime allows it. One session runs one call at a time. Tensors on a GPU are only for
/// sessions that run there; those take tensors of both places.
class FGDM_API Session {
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
