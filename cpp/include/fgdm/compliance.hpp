#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "fgdm/api.h"
#include "fgdm/palette.hpp"
#include "fgdm/requirements.hpp"

namespace fgdm {

enum class Met : std::uint8_t { no, yes, unchecked };  // unchecked: a map can't say

// How well one label map meets requirements.
struct FGDM_API MapCompliance {
  std::vector<Met> met;  // of each requirement, in the order of describe()
  // The shares that are met, 0 to 1, and 1 where nothing of the kind is required: of present
  // classes (the recall of the FG-DM paper, section 4), of counts, of relations, of absences.
  double presence = 1.0, counts = 1.0, relations = 1.0, absences = 1.0;
  double compliance = 1.0;  // met / checked requirements; 1: jointly met
};

struct FGDM_API CheckOptions {
  double min_area = 0.002;  // of the map, for a class or an instance to be there, 0 to 1
  // Pixels by which every class is opened with a square before its instances are told apart, 0 to
  // 64: bridges between them that are no wider than twice that fall. 0: touching ones are one.
  int opening = 0;
};

// A connected component (8 neighbours) of a class, and its bounding box in pixels; right and bottom
// are the first beyond it.
struct FGDM_API Instance {
  std::size_t area;
  int left, top, right, bottom;
};

// The instances of one class, the largest first, in a label map (height, width). Throws
// RequestError for sizes that disagree and options out of range.
FGDM_API std::vector<Instance> find_instances(std::span<const std::uint8_t> labels, int height,
                                              int width, int label,
                                              const CheckOptions& options = {});

// Which instance each pixel of a label map (height, width) is of: 1, 2, … in the order of their
// first pixels, row by row, each of one class; 0 for pixels without a class, and for what is
// smaller than min_area or taken away by opening. Throws RequestError as above.
FGDM_API std::vector<std::uint32_t> number_instances(std::span<const std::uint8_t> labels,
                                                     int height, int width,
                                                     const CheckOptions& options = {});

// Whether a stands in that relation to b (not `between`). Both are bounding boxes; y grows
// downwards.
//
// left of, right of, above, below: as GenEval defines position (Ghosh et al., "GenEval", NeurIPS
// 2023, section 3.1; relative_position in its evaluate_images.py): the offset of the centres, each
// axis shortened by a tenth of both boxes' extents along it, makes more than half of the whole
// offset's length on that axis.
// The others GenEval doesn't have. "across" means that the centres lie no farther apart sideways
// than half of the wider box:
// under: across, and a's centre is lower by more than a tenth of both heights.
// on: across, a's lower edge is between b's edges, and unless b is `background` a's centre is
// higher. beside: left or right, at overlapping heights, with a gap no wider than the wider box. in
// front of, behind: across, and a's lower edge is lower, or higher, by more than 2 % of the map's
// height: on a ground that is seen from above what is nearer stands lower.
FGDM_API bool holds(Relation relation, const Instance& a, const Instance& b, int map_height,
                    bool b_is_background = false);

// Checks a label map (height, width) against requirements. A class is present from `min_area` on;
// so is an instance. Of the instances, each mention is given as many as it speaks of, so that most
// relations are met; a relation must hold between each of its subject and each of its object.
// between: right of one and left of the other, or above one and below the other. A background class
// is seen by its pixels that face the thing (docs/compliance.md). Takes one pass over the map, and
// one over a part of it for each relation with a background. Throws RequestError for sizes that
// disagree and options out of range.
FGDM_API MapCompliance check_map(const Palette& palette, std::span<const std::uint8_t> labels,
                                 int height, int width, const Requirements& requirements,
                                 const CheckOptions& options = {});

// Classes that must not appear together on a map that is painted (FG-DM, A.3).
struct FGDM_API MapFilter {
  std::vector<int> classes;  // one or more
  double min_area;           // of the map: each of them counts from here on
};

// Reads filters from JSON: a list of class names, or of {"classes": ["person", "car"], "min_area":
// 0.01}, min_area being optional. Throws RequestError that names the place and what was expected.
FGDM_API std::vector<MapFilter> parse_filters(const Palette& palette, std::string_view json,
                                              double min_area);

// The filter that refuses a label map, in words ("person with car"); empty: none does.
FGDM_API std::string refusal(const Palette& palette, std::span<const std::uint8_t> labels,
                             std::span<const MapFilter> filters);

}  // namespace fgdm
