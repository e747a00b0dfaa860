#include "resize.hpp"

#include <algorithm>
#include <vector>

namespace fgdm {
namespace {

// Where a resized pixel lies between two of the original's.
struct Place {
  std::size_t before, after;
  float weight;  // of `after`
};

std::vector<Place> places(int size, int resized) {
  std::vector<Place> all;
  const float scale = static_cast<float>(size) / static_cast<float>(resized);
  for (int i = 0; i < resized; ++i) {
    const float at = std::max(0.0F, (static_cast<float>(i) + 0.5F) * scale - 0.5F);
    const auto before = std::min(static_cast<int>(at), size - 1);
    all.push_back({static_cast<std::size_t>(before),
                   static_cast<std::size_t>(std::min(before + 1, size - 1)),
                   at - static_cast<float>(before)});
  }
  return all;
}

}  // namespace

void resize_bilinear(std::span<const float> planes, int height, int width, std::span<float> resized,
                     int resized_height, int resized_width) {
  const auto rows = places(height, resized_height), columns = places(width, resized_width);
  const auto area = static_cast<std::size_t>(height) * static_cast<std::size_t>(width);
  auto out = resized.begin();
  for (std::size_t plane = 0; plane < planes.size(); plane += area)
    for (const auto& row : rows) {
      const float* above = planes.data() + plane + row.before * static_cast<std::size_t>(width);
      const float* below = planes.data() + plane + row.after * static_cast<std::size_t>(width);
      for (const auto& column : columns) {
        const auto mixed = [&](const float* line) {
          return line[column.before] * (1.0F - column.weight) + line[column.after] * column.weight;
        };
        *out++ = mixed(above) * (1.0F - row.weight) + mixed(below) * row.weight;
      }
    }
}

}  // namespace fgdm
