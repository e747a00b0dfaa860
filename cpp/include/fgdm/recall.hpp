#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace fgdm {

// How much of a prompt one label map holds ("object recall", section 4 of the FG-DM paper).
struct MapRecall {
  double recall;             // found / requested classes, 0 to 1; 1 if none was requested
  std::vector<int> found;    // requested classes with enough area, in the order of the request
  std::vector<int> missing;  // the others
  double smallest_area;      // the least area of a found class, as a fraction of the map; 0 if none
};

// Measures `labels` (any shape, one class index per pixel, 255 unlabeled) against the requested
// class indices. A class is found if it has at least one pixel and at least the fraction `min_area`
// of all pixels. A class that is requested twice counts once.
// Throws RequestError for an empty map, a class outside 0 to 254, or min_area outside 0 to 1.
MapRecall measure(std::span<const std::uint8_t> labels, std::span<const int> requested,
                  double min_area);

// The index of the map to keep: the highest recall; among those the larger smallest_area; among
// those the lowest index. Throws RequestError if there is none.
std::size_t select(std::span<const MapRecall> maps);

// The indices, ascending, of the better half of the maps (one more, if their number is odd), by the
// order of select(): successive halving. None stays of none.
std::vector<std::size_t> better_half(std::span<const MapRecall> maps);

}  // namespace fgdm
