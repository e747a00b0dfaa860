#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "fgdm/compliance.hpp"

namespace fgdm {

// What a label map holds of its classes.
struct Components {
  std::array<std::size_t, 256> areas{};                // pixels, of every label
  std::array<std::vector<Instance>, 256> instances{};  // of wanted classes, in no order
};

// Finds the connected components of the wanted classes, and the areas of all, in one pass over runs
// of equal pixels. `opening` as in CheckOptions. (height, width) labels, not empty.
Components find_components(std::span<const std::uint8_t> labels, int height, int width,
                           const std::array<bool, 256>& wanted, int opening);

// The component of each pixel: 1, 2, … in the order of their first pixels, row by row; 0 for
// classes that aren't wanted and for what opening takes away. Arguments as above.
std::vector<std::uint32_t> number_components(std::span<const std::uint8_t> labels, int height,
                                             int width, const std::array<bool, 256>& wanted,
                                             int opening);

}  // namespace fgdm
