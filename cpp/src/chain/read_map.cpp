#include "read_map.hpp"

#include <algorithm>

#include "fgdm/palette.hpp"

namespace fgdm {

ReadMap read_map(const Bundle& bundle, const FactorSpec& factor, const Pixels& map) {
  ReadMap read{map.height, map.width, {}, {}, map.data, 0};
  if (!factor.makes_labels())
    return read;
  const auto& palette = bundle.palette(factor.palette);
  const auto area = static_cast<std::size_t>(map.height) * static_cast<std::size_t>(map.width);
  if (map.data.size() == area) {
    read.labels = read.snapped = map.data;
  } else {
    read.labels.resize(area);
    read.snapped.resize(area);
    decode_labels(palette, map.data, read.labels);
    decode_labels(palette, map.data, read.snapped, 255);
  }
  read.rgb.resize(3 * area);
  render_labels(palette, read.snapped, read.rgb);
  read.unknown_pixels = static_cast<std::size_t>(std::ranges::count(read.labels, unlabeled));
  return read;
}

std::map<std::string, ReadMap> read_maps(const Request& resolved, const Bundle& bundle) {
  std::map<std::string, ReadMap> maps;
  for (const auto& factor : bundle.manifest().factors)
    if (const auto found = resolved.factors.find(factor.name); found != resolved.factors.end() &&
                                                               !found->second.map.data.empty() &&
                                                               !found->second.left_out)
      maps.emplace(factor.name, read_map(bundle, factor, found->second.map));
  return maps;
}

}  // namespace fgdm
