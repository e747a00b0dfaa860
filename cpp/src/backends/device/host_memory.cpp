#include "host_memory.hpp"

#include <cstring>
#include <new>
#include <utility>

namespace fgdm {
namespace {

// DLPack recommends so many bytes; JAX copies what has fewer than 64.
constexpr std::align_val_t alignment{256};

class HostMemory final : public SharedMemory {
public:
  HostMemory(std::byte* data, std::size_t bytes, std::shared_ptr<void> owner)
      : data_(data), bytes_(bytes), owner_(std::move(owner)) {}

  std::byte* data() const override { return data_; }
  int gpu() const override { return -1; }
  void wait_on(void*) const override {}
  void read(void* to) const override { std::memcpy(to, data_, bytes_); }
  std::shared_ptr<const SharedMemory> copied() const override { return host_copy(*this, bytes_); }

private:
  std::byte* data_;
  std::size_t bytes_;
  std::shared_ptr<void> owner_;
};

}  // namespace

std::byte* allocate_host(std::size_t bytes) {
  auto* const memory = static_cast<std::byte*>(::operator new(bytes, alignment));
  std::memset(memory, 0, bytes);
  return memory;
}

void free_host(void* memory) noexcept {
  ::operator delete(memory, alignment);
}

std::shared_ptr<const SharedMemory> host_memory(std::byte* data, std::size_t bytes,
                                                std::shared_ptr<void> owner) {
  return std::make_shared<HostMemory>(data, bytes, std::move(owner));
}

std::shared_ptr<const SharedMemory> host_copy(const SharedMemory& memory, std::size_t bytes) {
  auto* const made = allocate_host(bytes);
  std::shared_ptr<void> owner(made, free_host);
  memory.read(made);
  return host_memory(made, bytes, std::move(owner));
}

}  // namespace fgdm
