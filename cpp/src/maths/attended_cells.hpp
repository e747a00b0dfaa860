#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace fgdm {

// The cells (rows * stride, columns * stride), 1 and 0, from which words are looked at most: where
// the sum of their attention maps, smoothed, is at least its quantile `threshold`, 0 to 1 (the mask
// M1 of LEDITS++, equation 9). `maps`: (words, rows, columns). Smoothed by a window of 3 x 3,
// reflected at the borders, whose weights are e^-(dx^2 + dy^2), a deviation of 0.71 cells, as in
// diffusers. With attention that isn't finite all cells.
std::vector<std::uint8_t> attended_cells(std::span<const float> maps, int rows, int columns,
                                         int stride, double threshold);

}  // namespace fgdm
