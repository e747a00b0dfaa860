#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "fgdm/bundle.hpp"
#include "fgdm/request.hpp"

namespace fgdm {

// A factor's map, as it is measured and as later factors see it.
struct ReadMap {
  int height, width;
  // Of a factor that makes labels: `unlabeled` where no colour is within the palette's tolerance;
  // the nearest class's.
  std::vector<std::uint8_t> labels, snapped;
  std::vector<std::uint8_t> rgb;  // of the nearest classes, where there are some
  std::size_t unknown_pixels;     // of `labels`, unlabeled
};

// Reads RGB, or labels of a factor that makes them, which stay as they are. Throws RequestError for
// a label that the palette lacks.
ReadMap read_map(const Bundle& bundle, const FactorSpec& factor, const Pixels& map);

// The maps that a resolved request brings, by factor, to be taken as they are or refined.
std::map<std::string, ReadMap> read_maps(const Request& resolved, const Bundle& bundle);

}  // namespace fgdm
