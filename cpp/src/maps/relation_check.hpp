#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "components.hpp"
#include "fgdm/requirements.hpp"

namespace fgdm {

// Which of the required relations a label map (height, width) meets.
//
// Every mention is given as many instances of its class as it speaks of, mentions that are
// different things different ones, so that most relations hold; a relation holds if each instance
// of its subject stands so to each of its object. Of each class the eight largest instances are
// tried, and at most a fixed number of combinations, the largest first.
//
// `found` has the instances of all classes of relations, those that are large enough, the largest
// first. `is_there`: whether a background class is.
std::vector<bool> met_relations(const Palette& palette, const Requirements& required,
                                const Components& found, const std::vector<bool>& is_there,
                                std::span<const std::uint8_t> labels, int height, int width);

}  // namespace fgdm
