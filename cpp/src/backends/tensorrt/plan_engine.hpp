#pragma once

#include <cstddef>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "cuda_driver.hpp"
#include "fgdm/session.hpp"

namespace fgdm {

// An input or output of a deserialised plan at one of its profiles.
struct EngineTensor {
  std::string name;
  DType dtype;
  std::vector<std::int64_t> shape;
  bool is_input;
};

// An execution context: one optimization profile of an engine, ready to run at its shapes. Two may
// share their scratch memory as long as they never run at once.
class PlanContext {
public:
  virtual ~PlanContext() = default;

  // Bytes of scratch memory that run() needs.
  virtual std::size_t scratch_bytes() const = 0;
  virtual void use_scratch(std::byte* device_memory, std::size_t bytes) = 0;

  // Where an input or output lies on the device. Throws BackendError.
  virtual void bind(const std::string& tensor, std::byte* device_memory) = 0;

  // Queues one run. Throws BackendError that tells what the runtime said if it refuses,
  // OutOfMemoryError if it said that it is that.
  virtual void enqueue(cuda::Stream stream) = 0;
};

// A deserialised plan.
class PlanEngine {
public:
  virtual ~PlanEngine() = default;

  virtual std::vector<EngineTensor> tensors(std::size_t profile) const = 0;

  // May wait for the stream. Throws BackendError or OutOfMemoryError.
  virtual std::unique_ptr<PlanContext> make_context(std::size_t profile, cuda::Stream stream) = 0;
};

// A runtime of compiled plans. The one interface between the session and TensorRT, so that all but
// a thin file builds and is tested without it.
class PlanRuntime {
public:
  virtual ~PlanRuntime() = default;

  // Such as "10.3.0".
  virtual std::string version() const = 0;

  // Makes the op's plugin known, unless it is already. Throws BackendError.
  virtual void load_plugin(const std::filesystem::path& library) = 0;

  // Throws BackendError that tells what the runtime said, OutOfMemoryError if it said that it is
  // that.
  virtual std::unique_ptr<PlanEngine> deserialise(std::span<const std::byte> plan) = 0;
};

}  // namespace fgdm
