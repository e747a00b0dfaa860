#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "fgdm/api.h"
#include "fgdm/tensor.hpp"

namespace fgdm {

/// Memory that the engine and others hold together, on the host or on a GPU. It stays until the
/// last of them lets go, on whatever thread, and whatever became of the engine meanwhile.
class FGDM_API SharedMemory {
public:
  virtual ~SharedMemory() = default;

  /// On a GPU, the host must not read there.
  virtual std::byte* data() const = 0;

  /// Which GPU, as CUDA counts them; -1: the host's memory.
  virtual int gpu() const = 0;

  /// Lets what is queued on a CUDA stream (a cudaStream_t, or CUDA's handles 1 and 2 of the legacy
  /// and the calling thread's default stream) from now on wait until the memory is written. Does
  /// nothing on the host. Throws BackendError.
  virtual void wait_on(void* stream) const = 0;

  /// Copies all of it to the host, and waits for that. Throws BackendError.
  virtual void read(void* to) const = 0;

  /// Other memory at the same place with the same content. Throws BackendError, OutOfMemoryError.
  virtual std::shared_ptr<const SharedMemory> copied() const = 0;
};

/// A dense row-major array.
struct FGDM_API DeviceArray {
  DType dtype = DType::uint8;
  std::vector<std::int64_t> shape;             ///< empty: there is no array
  std::shared_ptr<const SharedMemory> memory;  ///< nullptr: nor is there any more

  explicit operator bool() const { return !shape.empty(); }
  std::size_t bytes() const;
};

/// How arrays come to an engine that its networks can read where they lie.
struct FGDM_API Exchange {
  int gpu = -1;  ///< where its networks' inputs lie, as SharedMemory::gpu says it
  /// On a GPU a cudaStream_t: what brings an array lets this stream wait until the array is
  /// written. Nothing else runs on it. nullptr on the host.
  void* stream = nullptr;
};

}  // namespace fgdm
