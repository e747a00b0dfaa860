#pragma once

#include <cstddef>
#include <memory>

#include "cuda_gpu.hpp"
#include "fgdm/device_array.hpp"

namespace fgdm::cuda {

// Memory of a GPU, which `owner` keeps, and which is written when what `stream` has queued so far
// is done. `owner` may go on any thread, and finds that thread's own GPU current.
std::shared_ptr<const SharedMemory> shared_memory(std::shared_ptr<const Gpu> gpu, std::byte* data,
                                                  std::size_t bytes, std::shared_ptr<void> owner,
                                                  Stream stream);

// An owner of what allocate_memory() gave. Freeing waits for all that the GPU does with it, so that
// who lets go of an array needn't.
std::shared_ptr<void> freed_by_the_last(std::shared_ptr<const Gpu> gpu, std::byte* memory);

}  // namespace fgdm::cuda
