#pragma once

#include <cstddef>
#include <memory>

#include "fgdm/device_array.hpp"

namespace fgdm {

// Zeros, aligned for every library that arrays are shared with. free_host() takes nullptr too.
std::byte* allocate_host(std::size_t bytes);
void free_host(void* memory) noexcept;

// Memory of the host's, which `owner` keeps.
std::shared_ptr<const SharedMemory> host_memory(std::byte* data, std::size_t bytes,
                                                std::shared_ptr<void> owner);

// What memory on any device holds, on the host.
std::shared_ptr<const SharedMemory> host_copy(const SharedMemory& memory, std::size_t bytes);

}  // namespace fgdm
