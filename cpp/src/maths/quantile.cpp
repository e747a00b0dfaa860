#include "quantile.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>

namespace fgdm {

std::vector<std::uint8_t> at_least_quantile(std::span<const float> values, double part) {
  if (!std::ranges::all_of(values, [](float value) { return std::isfinite(value); }))
    return std::vector<std::uint8_t>(values.size(), 1);
  std::vector<float> sorted(values.begin(), values.end());
  std::ranges::sort(sorted);
  const double place = part * static_cast<double>(values.size() - 1);
  const auto low = static_cast<std::size_t>(place);
  const double rest = place - static_cast<double>(low);
  double least = static_cast<double>(sorted[low]);
  if (rest > 0.0)
    least += rest * (static_cast<double>(sorted[low + 1]) - least);
  std::vector<std::uint8_t> marks(values.size());
  for (std::size_t i = 0; i < values.size(); ++i)
    marks[i] = static_cast<double>(values[i]) >= least ? 1 : 0;
  return marks;
}

}  // namespace fgdm
