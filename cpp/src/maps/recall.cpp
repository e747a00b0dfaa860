#include "fgdm/recall.hpp"

#include <algorithm>
#include <array>
#include <numeric>
#include <string>

#include "fgdm/error.hpp"

namespace fgdm {
namespace {

bool worse(const MapRecall& a, const MapRecall& b) {
  if (a.refused != b.refused)
    return a.refused;
  if (a.recall != b.recall)
    return a.recall < b.recall;
  return a.compliance != b.compliance ? a.compliance < b.compliance
                                      : a.smallest_area < b.smallest_area;
}

}  // namespace

MapRecall measure(std::span<const std::uint8_t> labels, std::span<const int> requested,
                  double min_area) {
  if (labels.empty())
    throw RequestError("recall: the label map is empty, expected at least one pixel");
  if (!(min_area >= 0.0 && min_area <= 1.0))
    throw RequestError("min_area is " + std::to_string(min_area) +
                       ", expected a fraction of the map from 0 to 1");
  std::array<std::size_t, 256> counts{};
  for (const std::uint8_t label : labels)
    ++counts[label];

  MapRecall result{1.0, {}, {}, 0.0};
  std::array<bool, 255> seen{};
  for (const int label : requested) {
    if (label < 0 || label > 254)
      throw RequestError("recall: requested class " + std::to_string(label) +
                         ", expected an index of the palette from 0 to 254");
    const auto index = static_cast<std::size_t>(label);
    if (seen[index])
      continue;
    seen[index] = true;
    const double area = static_cast<double>(counts[index]) / static_cast<double>(labels.size());
    if (counts[index] == 0 || area < min_area) {
      result.missing.push_back(label);
      continue;
    }
    result.smallest_area = result.found.empty() ? area : std::min(result.smallest_area, area);
    result.found.push_back(label);
  }
  const std::size_t total = result.found.size() + result.missing.size();
  if (total > 0)
    result.recall = static_cast<double>(result.found.size()) / static_cast<double>(total);
  return result;
}

std::size_t select(std::span<const MapRecall> maps) {
  if (maps.empty())
    throw RequestError("recall: no maps to choose from, expected at least one");
  return static_cast<std::size_t>(std::max_element(maps.begin(), maps.end(), worse) - maps.begin());
}

std::vector<std::size_t> better_half(std::span<const MapRecall> maps) {
  std::vector<std::size_t> order(maps.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::ranges::stable_sort(order,
                           [&](std::size_t a, std::size_t b) { return worse(maps[b], maps[a]); });
  order.resize((maps.size() + 1) / 2);
  std::ranges::sort(order);
  return order;
}

}  // namespace fgdm
