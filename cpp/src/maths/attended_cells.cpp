#include "attended_cells.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>

#include "quantile.hpp"

namespace fgdm {
namespace {

// A place up to one beyond a border, reflected at it; where there is only one, that one.
int reflected(int place, int size) {
  const int inside = place < 0 ? -place : place >= size ? 2 * size - 2 - place : place;
  return std::clamp(inside, 0, size - 1);
}

std::vector<float> smoothed(std::span<const float> cells, int rows, int columns) {
  const float beside = std::exp(-1.0F), all = 1.0F + 2.0F * beside;
  const float weights[] = {beside / all, 1.0F / all, beside / all};
  std::vector<float> out(cells.size());
  for (int y = 0; y < rows; ++y)
    for (int x = 0; x < columns; ++x) {
      float sum = 0.0F;
      for (int down = -1; down <= 1; ++down)
        for (int across = -1; across <= 1; ++across)
          sum += weights[down + 1] * weights[across + 1] *
                 cells[static_cast<std::size_t>(reflected(y + down, rows) * columns +
                                                reflected(x + across, columns))];
      out[static_cast<std::size_t>(y * columns + x)] = sum;
    }
  return out;
}

}  // namespace

std::vector<std::uint8_t> attended_cells(std::span<const float> maps, int rows, int columns,
                                         int stride, double threshold) {
  const auto size = static_cast<std::size_t>(rows) * static_cast<std::size_t>(columns);
  std::vector<float> sum(size, 0.0F);
  for (std::size_t i = 0; i < maps.size(); ++i)
    sum[i % size] += maps[i];
  const auto coarse = at_least_quantile(smoothed(sum, rows, columns), threshold);
  std::vector<std::uint8_t> cells;
  cells.reserve(size * static_cast<std::size_t>(stride * stride));
  for (int y = 0; y < rows * stride; ++y)
    for (int x = 0; x < columns * stride; ++x)
      cells.push_back(coarse[static_cast<std::size_t>(y / stride * columns + x / stride)]);
  return cells;
}

}  // namespace fgdm
