#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace fgdm {

using Color = std::array<std::uint8_t, 3>;

// Finds the colours within a tolerance of a pixel: per channel and value it keeps the set of
// colours that are near enough, and intersects three of them.
class LabelDecoder {
public:
  LabelDecoder(std::vector<Color> colors, int tolerance);

  // The nearest colour in L infinity, ties to the smaller L1 and then to the lower index; or 255.
  std::uint8_t nearest(const std::uint8_t* pixel);

  // The last colour; or 255.
  std::uint8_t last(const std::uint8_t* pixel) const;

private:
  using ColorSet = std::array<std::uint64_t, 4>;  // a bit per colour

  // Calls `visit` with the index of each colour in all three sets, in ascending order.
  template <typename Visit>
  void for_each(const ColorSet& red, const ColorSet& green, const ColorSet& blue,
                Visit visit) const;

  std::uint16_t cell_label(const Color& corner) const;

  std::vector<Color> colors_;
  int tolerance_;
  std::array<std::vector<ColorSet>, 3> near_levels_;  // by level: within tolerance of it
  std::array<std::vector<ColorSet>, 3> near_cells_;  // by 8 levels: within tolerance of any of them
  // Labels of cells of 8^3 colours that have one label throughout, filled as pixels come: most
  // pixels need no more than this.
  std::vector<std::uint16_t> cell_labels_;
};

}  // namespace fgdm
