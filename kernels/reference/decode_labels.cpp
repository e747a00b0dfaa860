#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdlib>
#include <tuple>

#include "reference.hpp"

namespace fgdm::kernels::reference {

namespace {

// The rules as fgdm/palette.hpp words them, without a table.
unsigned char decode(const fgdm_labels_shape& shape, const std::array<int, 3>& pixel,
                     std::span<const unsigned char> palette) {
  unsigned char result = 255;
  std::tuple<int, int> least{256, 0};  // L infinity, L1
  for (int c = 0; c < shape.classes; ++c) {
    int max = 0;
    int sum = 0;
    for (std::size_t channel = 0; channel < 3; ++channel) {
      const int difference =
          std::abs(pixel[channel] - int{palette[3 * static_cast<std::size_t>(c) + channel]});
      max = std::max(max, difference);
      sum += difference;
    }
    if (max > shape.tolerance)
      continue;
    if (shape.rule == FGDM_DECODE_BOX || std::tuple{max, sum} < least) {
      least = {max, sum};
      result = static_cast<unsigned char>(c);
    }
  }
  return result;
}

// In float32, as the pixels are: rounding is part of the rule (fgdm::image_to_rgb).
int level(float value) {
  if (std::isnan(value))
    return 0;
  return static_cast<int>(std::nearbyint(std::clamp(value / 2.0F + 0.5F, 0.0F, 1.0F) * 255.0F));
}

}  // namespace

void decode_labels(const fgdm_labels_shape& shape, std::span<const float> images,
                   std::span<const unsigned char> palette, std::span<const unsigned char> requested,
                   std::span<unsigned char> labels, std::span<int> areas,
                   std::span<fgdm_map_recall> recall) {
  const auto pixels =
      static_cast<std::size_t>(shape.height) * static_cast<std::size_t>(shape.width);
  const auto classes = static_cast<std::size_t>(shape.classes);
  std::ranges::fill(areas, 0);
  for (std::size_t m = 0; m < static_cast<std::size_t>(shape.maps); ++m) {
    for (std::size_t i = 0; i < pixels; ++i) {
      std::array<int, 3> pixel{};
      for (std::size_t channel = 0; channel < 3; ++channel)
        pixel[channel] = level(images[(3 * m + channel) * pixels + i]);
      const unsigned char label = decode(shape, pixel, palette);
      labels[m * pixels + i] = label;
      if (label < classes)
        ++areas[m * classes + label];
    }
    recall[m] = {};
    for (std::size_t c = 0; c < classes; ++c) {
      if (requested[m * classes + c] == 0)
        continue;
      ++recall[m].requested;
      const int area = areas[m * classes + c];
      if (area == 0 || static_cast<double>(area) / static_cast<double>(pixels) < shape.min_area)
        continue;
      if (recall[m].found == 0 || area < recall[m].smallest_area)
        recall[m].smallest_area = area;
      ++recall[m].found;
    }
  }
}

}  // namespace fgdm::kernels::reference
