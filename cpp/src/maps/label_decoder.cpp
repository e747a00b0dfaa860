#include "label_decoder.hpp"

#include <algorithm>
#include <bit>
#include <cstdlib>
#include <utility>

#include "fgdm/palette.hpp"

namespace fgdm {

namespace {

constexpr int num_levels = 256;
constexpr int cell_bits = 3;
constexpr int cell_size = 1 << cell_bits;
constexpr std::size_t cells_per_channel = num_levels >> cell_bits;

constexpr std::uint16_t unknown_cell = 256;
constexpr std::uint16_t mixed_cell = 257;

// L infinity, L1 and the colour's index in one number, so that the least number is the nearest.
std::uint32_t distance_key(const std::uint8_t* pixel, const Color& color, std::size_t index) {
  std::uint32_t max = 0;
  std::uint32_t sum = 0;
  for (std::size_t channel = 0; channel < 3; ++channel) {
    const auto difference =
        static_cast<std::uint32_t>(std::abs(int{pixel[channel]} - int{color[channel]}));
    max = std::max(max, difference);
    sum += difference;
  }
  return (max << 18) | (sum << 8) | static_cast<std::uint32_t>(index);  // sum has 10 bits
}

constexpr std::uint32_t unlabeled_key = (256U << 18) | unlabeled;  // further than any colour

// The least and the greatest L infinity distance of a colour from the points of a cell.
std::pair<int, int> cell_distances(const Color& corner, const Color& color) {
  std::pair<int, int> result = {0, 0};
  for (std::size_t channel = 0; channel < 3; ++channel) {
    const int to_first = int{corner[channel]} - int{color[channel]};
    const int to_last = to_first + cell_size - 1;
    result.first = std::max({result.first, to_first, -to_last});
    result.second = std::max({result.second, -to_first, to_last});
  }
  return result;
}

}  // namespace

LabelDecoder::LabelDecoder(std::vector<Color> colors, int tolerance)
    : colors_(std::move(colors)), tolerance_(tolerance),
      cell_labels_(cells_per_channel * cells_per_channel * cells_per_channel, unknown_cell) {
  for (std::size_t channel = 0; channel < 3; ++channel) {
    near_levels_[channel].resize(num_levels);
    near_cells_[channel].resize(cells_per_channel);
    for (std::size_t i = 0; i < colors_.size(); ++i) {
      const int level = colors_[i][channel];
      const auto first = static_cast<std::size_t>(std::max(level - tolerance, 0));
      const auto last = static_cast<std::size_t>(std::min(level + tolerance, num_levels - 1));
      const std::uint64_t bit = std::uint64_t{1} << (i % 64);
      for (std::size_t near = first; near <= last; ++near) {
        near_levels_[channel][near][i / 64] |= bit;
        near_cells_[channel][near >> cell_bits][i / 64] |= bit;
      }
    }
  }
}

template <typename Visit>
void LabelDecoder::for_each(const ColorSet& red, const ColorSet& green, const ColorSet& blue,
                            Visit visit) const {
  const std::size_t num_words = (colors_.size() + 63) / 64;
  for (std::size_t word = 0; word < num_words; ++word)
    for (std::uint64_t bits = red[word] & green[word] & blue[word]; bits != 0; bits &= bits - 1)
      visit(64 * word + static_cast<std::size_t>(std::countr_zero(bits)));
}

// The label of all points of the cell from `corner` on, or mixed_cell. One colour has them all if
// its greatest distance is within tolerance and below every other's least.
std::uint16_t LabelDecoder::cell_label(const Color& corner) const {
  int second_least = num_levels;  // least distance among all but the best
  int best_greatest = num_levels;
  int best_least = num_levels;
  std::size_t best = unlabeled;
  for_each(near_cells_[0][corner[0] >> cell_bits], near_cells_[1][corner[1] >> cell_bits],
           near_cells_[2][corner[2] >> cell_bits], [&](std::size_t i) {
             auto [least, greatest] = cell_distances(corner, colors_[i]);
             if (greatest < best_greatest) {
               std::swap(least, best_least);
               best_greatest = greatest;
               best = i;
             }
             second_least = std::min(second_least, least);
           });
  if (best == unlabeled)
    return unlabeled;
  const bool is_uniform = best_greatest <= tolerance_ && best_greatest < second_least;
  return is_uniform ? static_cast<std::uint16_t>(best) : mixed_cell;
}

std::uint8_t LabelDecoder::nearest(const std::uint8_t* pixel) {
  const auto cell = [&](std::size_t channel) { return std::size_t{pixel[channel]} >> cell_bits; };
  std::uint16_t& label =
      cell_labels_[(cell(0) * cells_per_channel + cell(1)) * cells_per_channel + cell(2)];
  if (label == unknown_cell) {
    constexpr auto mask = static_cast<std::uint8_t>(~(cell_size - 1));
    label = cell_label({static_cast<std::uint8_t>(pixel[0] & mask),
                        static_cast<std::uint8_t>(pixel[1] & mask),
                        static_cast<std::uint8_t>(pixel[2] & mask)});
  }
  if (label != mixed_cell)
    return static_cast<std::uint8_t>(label);
  std::uint32_t best = unlabeled_key;
  for_each(near_levels_[0][pixel[0]], near_levels_[1][pixel[1]], near_levels_[2][pixel[2]],
           [&](std::size_t i) { best = std::min(best, distance_key(pixel, colors_[i], i)); });
  return static_cast<std::uint8_t>(best);
}

std::uint8_t LabelDecoder::last(const std::uint8_t* pixel) const {
  std::uint8_t result = unlabeled;
  for_each(near_levels_[0][pixel[0]], near_levels_[1][pixel[1]], near_levels_[2][pixel[2]],
           [&](std::size_t i) { result = static_cast<std::uint8_t>(i); });
  return result;
}

}  // namespace fgdm
