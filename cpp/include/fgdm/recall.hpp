#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "fgdm/api.h"

namespace fgdm {

// How much of a prompt one label map holds ("object recall", section 4 of the FG-DM paper).
struct FGDM_API MapRecall {
  double recall;             // found / requested classes, 0 to 1; 1 if none was requested
  std::vector<int> found;    // requested classes with enough area, in the order of the request
  std::vector<int> missing;  // the others
  double smallest_area;      // the least area of a found class, as a fraction of the map; 0 if none
  // Of maps that are chosen by compliance (compliance.hpp), 0 to 1; 1 of others.
  double compliance = 1.0;
  bool refused = false;  // it holds what must not be painted
};

// Measures `labels` (any shape, one class index per pixel, 255 unlabeled) against the requested
// class indices. A class is found if it has at least one pixel and at least the fraction `min_area`
// of all pixels. A class that is requested twice counts once.
// Throws RequestError for an empty map, a class outside 0 to 254, or min_area outside 0 to 1.
FGDM_API MapRecall measure(std::span<const std::uint8_t> labels, std::span<const int> requested,
                           double min_area);

// The index of the map to keep: one that isn't refused before one that is; among those the highest
// recall; the highest compliance; the larger smallest_area; the lowest index. A map that meets all
// requirements has full recall, so it wins, and no other is chosen at a loss of recall. Throws
// RequestError if there is none.
FGDM_API std::size_t select(std::span<const MapRecall> maps);

// The indices, ascending, of the better half of the maps (one more, if their number is odd), by the
// order of select(): successive halving. None stays of none.
FGDM_API std::vector<std::size_t> better_half(std::span<const MapRecall> maps);

}  // namespace fgdm
