#pragma once

#include <cstdint>
#include <map>

#include "device.hpp"

namespace fgdm::testing {

// A device whose memory the host cannot touch: its addresses belong to nobody, so whoever reads or
// writes one without the device crashes. It computes what the host's does, elsewhere.
class FarDevice final : public Device {
public:
  // The host memory behind an address of this device, and the address for it.
  template <typename T> static T* near(T* far) { return moved(far, -distance); }
  template <typename T> static T* far(T* near) { return moved(near, distance); }

  // Bytes that are allocated now.
  std::size_t bytes() const { return bytes_; }
  int downloads = 0, trims = 0, waits = 0;

  Place place() const override { return Place::gpu; }
  std::byte* allocate(std::size_t bytes) override {
    bytes_ += bytes;
    return far(host_->allocate(bytes));
  }
  void release(std::byte* memory, std::size_t bytes) noexcept override {
    if (memory == nullptr)
      return;
    bytes_ -= bytes;
    host_->release(near(memory), bytes);
  }
  void trim() noexcept override { ++trims; }
  void upload(std::byte* to, const void* from, std::size_t bytes) override {
    host_->upload(near(to), from, bytes);
  }
  void download(void* to, const std::byte* from, std::size_t bytes) override {
    ++downloads;
    host_->download(to, near(from), bytes);
  }
  void copy(std::byte* to, const std::byte* from, std::size_t bytes) override {
    host_->copy(near(to), near(from), bytes);
  }
  void clear(std::byte* at, std::size_t bytes) override { host_->clear(near(at), bytes); }
  void add(DType dtype, std::byte* total, const std::byte* term, std::size_t elements) override {
    host_->add(dtype, near(total), near(term), elements);
  }
  std::vector<bool> advance(std::span<const StepRow> rows, std::size_t elements,
                            const std::byte* noise, std::byte* sample, std::byte* x0) override {
    return host_->advance(rows, elements, near(noise), near(sample), near(x0));
  }
  LabelMaps label(const Palette& palette, const std::byte* pictures, std::size_t maps, int height,
                  int width) override {
    return host_->label(palette, near(pictures), maps, height, width);
  }
  void finish() override { ++waits; }

private:
  static constexpr std::intptr_t distance = std::intptr_t{1} << 56;

  template <typename T> static T* moved(T* memory, std::intptr_t by) {
    return reinterpret_cast<T*>(reinterpret_cast<std::intptr_t>(memory) + by);
  }

  std::shared_ptr<Device> host_ = host_device();
  std::size_t bytes_ = 0;
};

// Where a fake graph finds a tensor's numbers.
inline void* numbers_of(const TensorView& tensor) {
  return tensor.place == Place::gpu ? FarDevice::near(static_cast<std::byte*>(tensor.data))
                                    : tensor.data;
}

}  // namespace fgdm::testing
