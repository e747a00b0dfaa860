#include "attended_cells.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include <gtest/gtest.h>

namespace fgdm {
namespace {

// Where the mask is 1, among cells of the attention's own size.
std::vector<std::size_t> marked(const std::vector<std::uint8_t>& cells) {
  std::vector<std::size_t> places;
  for (std::size_t i = 0; i < cells.size(); ++i)
    if (cells[i] != 0)
      places.push_back(i);
  return places;
}

// Protects the mask of LEDITS++ against a sum in double over a map with its mirrored border.
TEST(AttendedCells, AreAboveTheQuantileOfTheSmoothedSum) {
  constexpr int rows = 5, columns = 4;
  std::vector<float> maps(3 * rows * columns);
  for (std::size_t i = 0; i < maps.size(); ++i)
    maps[i] = static_cast<float>((i * i * 37 + 11 * i) % 101) / 101.0F;
  double padded[rows + 2][columns + 2] = {};
  const auto sum_at = [&](int y, int x) {
    double sum = 0;
    for (int word = 0; word < 3; ++word)
      sum += static_cast<double>(maps[static_cast<std::size_t>((word * rows + y) * columns + x)]);
    return sum;
  };
  const int mirrored_rows[] = {1, 0, 1, 2, 3, 4, 3}, mirrored_columns[] = {1, 0, 1, 2, 3, 2};
  for (int y = 0; y < rows + 2; ++y)
    for (int x = 0; x < columns + 2; ++x)
      padded[y][x] = sum_at(mirrored_rows[y], mirrored_columns[x]);
  std::vector<double> smooth;
  double all = 0;
  for (int down = -1; down <= 1; ++down)
    for (int across = -1; across <= 1; ++across)
      all += std::exp(-(down * down + across * across));
  for (int y = 0; y < rows; ++y)
    for (int x = 0; x < columns; ++x) {
      double sum = 0;
      for (int down = -1; down <= 1; ++down)
        for (int across = -1; across <= 1; ++across)
          sum += std::exp(-(down * down + across * across)) / all *
                 padded[y + 1 + down][x + 1 + across];
      smooth.push_back(sum);
    }
  auto sorted = smooth;
  std::ranges::sort(sorted);
  // The quantile 0.75 of 20 values lies between the 15th and the 16th.
  std::vector<std::size_t> expected;
  for (std::size_t i = 0; i < smooth.size(); ++i)
    if (smooth[i] >= sorted[15])
      expected.push_back(i);
  ASSERT_EQ(expected.size(), 5U);
  EXPECT_EQ(marked(attended_cells(maps, rows, columns, 1, 0.75)), expected);
}

// Protects the way to the latents' cells: each of the attention's is as many as its stride says.
TEST(AttendedCells, AreAsLargeAsTheLatents) {
  std::vector<float> map(2 * 3, 0.0F);
  map[2] = 1.0F;  // the upper right of 2 x 3
  const auto cells = attended_cells(map, 2, 3, 2, 1.0);
  EXPECT_EQ(marked(cells), (std::vector<std::size_t>{4, 5, 10, 11}));
  EXPECT_EQ(cells.size(), 24U);
}

TEST(AttendedCells, OfOneCellAndOfWhatIsNotFiniteAreAll) {
  const std::vector<float> one{0.3F};
  EXPECT_EQ(attended_cells(one, 1, 1, 4, 0.9), std::vector<std::uint8_t>(16, 1));
  std::vector<float> broken(9, 0.1F);
  broken[4] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_EQ(attended_cells(broken, 3, 3, 1, 0.9), std::vector<std::uint8_t>(9, 1));
}

}  // namespace
}  // namespace fgdm
