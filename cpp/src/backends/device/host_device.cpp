#include <algorithm>
#include <cmath>
#include <cstring>
#include <utility>

#include "device.hpp"
#include "fgdm/guidance.hpp"
#include "half.hpp"
#include "host_memory.hpp"

namespace fgdm {
namespace {

class HostDevice final : public Device {
public:
  Place place() const override { return Place::host; }

  std::byte* allocate(std::size_t bytes) override { return allocate_host(bytes); }
  void release(std::byte* memory, std::size_t) noexcept override { free_host(memory); }
  void trim() noexcept override {}

  void upload(std::byte* to, const void* from, std::size_t bytes) override {
    std::memcpy(to, from, bytes);
  }
  void download(void* to, const std::byte* from, std::size_t bytes) override {
    std::memcpy(to, from, bytes);
  }
  void copy(std::byte* to, const std::byte* from, std::size_t bytes) override {
    std::memcpy(to, from, bytes);
  }
  void clear(std::byte* at, std::size_t bytes) override { std::memset(at, 0, bytes); }

  void add(DType dtype, std::byte* total, const std::byte* term, std::size_t elements) override {
    if (dtype == DType::float32) {
      auto* sums = reinterpret_cast<float*>(total);
      const auto* values = reinterpret_cast<const float*>(term);
      for (std::size_t i = 0; i < elements; ++i)
        sums[i] += values[i];
    } else {
      auto* sums = reinterpret_cast<std::uint16_t*>(total);
      const auto* values = reinterpret_cast<const std::uint16_t*>(term);
      for (std::size_t i = 0; i < elements; ++i)
        sums[i] = float_to_half(half_to_float(sums[i]) + half_to_float(values[i]));
    }
  }

  std::vector<bool> guided_step(std::span<const StepRow> rows, std::size_t elements,
                                const std::byte* noise, std::byte* sample, std::byte* x0) override {
    const auto row_of = [&](auto* data, std::size_t row) {
      return std::span(data + row * elements, elements);
    };
    const auto* predicted = reinterpret_cast<const float*>(noise);
    std::vector<bool> finite;
    for (std::size_t i = 0; i < rows.size(); ++i) {
      const auto& row = rows[i];
      auto epsilon = row_of(predicted, static_cast<std::size_t>(row.positive));
      if (row.negative >= 0) {
        guided_.resize(elements);
        combine(row_of(predicted, static_cast<std::size_t>(row.negative)), epsilon,
                row.guidance_scale, guided_);
        epsilon = guided_;
      }
      const auto latents = row_of(reinterpret_cast<float*>(sample), i);
      fgdm::sampler_step(row.coefficients, epsilon, latents,
                         row_of(reinterpret_cast<float*>(x0), i));
      finite.push_back(all_finite(latents));
    }
    return finite;
  }

  LabelMaps label(const Palette& palette, const std::byte* pictures, std::size_t maps, int height,
                  int width) override {
    const auto pixels = static_cast<std::size_t>(height) * static_cast<std::size_t>(width);
    std::vector<std::uint8_t> rgb(3 * pixels);
    LabelMaps made{std::vector<std::uint8_t>(maps * pixels),
                   std::vector<std::uint8_t>(maps * pixels)};
    for (std::size_t map = 0; map < maps; ++map) {
      const auto* planes = reinterpret_cast<const float*>(pictures) + map * rgb.size();
      image_to_rgb({planes, rgb.size()}, height, width, rgb);
      decode_labels(palette, rgb, std::span(made.labels).subspan(map * pixels, pixels));
      decode_labels(palette, rgb, std::span(made.snapped).subspan(map * pixels, pixels), 255);
    }
    return made;
  }

  void spread(const std::byte* rgb, int height, int width, Levels levels,
              std::byte* planes) override {
    const auto pixels = static_cast<std::size_t>(height) * static_cast<std::size_t>(width);
    auto* const numbers = reinterpret_cast<float*>(planes);
    for (std::size_t i = 0; i < 3 * pixels; ++i) {
      const float unit = static_cast<float>(rgb[i]) / 255.0F;
      numbers[i % 3 * pixels + i / 3] = levels == Levels::unit ? unit : 2.0F * unit - 1.0F;
    }
  }

  bool paint(const std::byte* planes, int height, int width, const KeptPixels& kept,
             std::byte* rgb) override {
    const auto pixels = static_cast<std::size_t>(height) * static_cast<std::size_t>(width);
    const std::span values(reinterpret_cast<const float*>(planes), 3 * pixels);
    if (!all_finite(values))
      return false;
    image_to_rgb(values, height, width, {reinterpret_cast<std::uint8_t*>(rgb), 3 * pixels});
    if (kept.anew != nullptr)
      for (std::size_t pixel = 0; pixel < pixels; ++pixel)
        if (kept.anew[pixel] == std::byte{0})
          std::memcpy(rgb + 3 * pixel, kept.original + 3 * pixel, 3);
    return true;
  }

  void finish() override {}

  Exchange exchange() const override { return {}; }
  std::shared_ptr<const SharedMemory> adopt(std::byte* data, std::size_t bytes,
                                            std::shared_ptr<void> owner) const override {
    return host_memory(data, bytes, std::move(owner));
  }
  void await(const SharedMemory&) override {}
  std::shared_ptr<const SharedMemory> give(std::byte* memory, std::size_t bytes) override {
    return host_memory(memory, bytes, {memory, free_host});
  }

private:
  std::vector<float> guided_;
};

}  // namespace

bool all_finite(std::span<const float> values) {
  return std::ranges::all_of(values, [](float value) { return std::isfinite(value); });
}

std::shared_ptr<Device> host_device() {
  return std::make_shared<HostDevice>();
}

}  // namespace fgdm
