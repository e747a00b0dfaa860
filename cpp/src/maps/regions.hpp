#pragma once

#include <cstdint>
#include <span>

#include "fgdm/compliance.hpp"

namespace fgdm {

// Where things stand as seen from a background class, or it from them. It is no box: it is told by
// its pixels that face the thing.
class Regions {
public:
  // (height, width) labels, which must outlive this.
  Regions(std::span<const std::uint8_t> labels, int height, int width)
      : labels_(labels), height_(height), width_(width) {}

  // The box of a class that leaves out the outermost twentieth of its pixels on each side. Its area
  // is 0 where there are none.
  Instance whole(int label) const { return box(label, 0, 0, width_, height_); }

  // Whether a thing of another class stands in that relation (not `between`) to a background class:
  // left of, right of: to the background's box in the thing's rows; above, below, under, in front
  // of, behind: in the thing's columns; as `holds` says of boxes. Where it has no pixel in them, to
  // its whole box.
  // on: it makes a quarter of what is around the thing's lower edge, 2 % of the map's height away,
  // the thing's class left out. beside: it makes a twentieth of what is around the thing, half of
  // its larger extent away, and the thing isn't on it.
  bool stands(Relation relation, int thing_label, const Instance& thing, int background) const;

  // Whether the background stands in that relation to the thing, likewise; `on` and `beside` as of
  // boxes, and as above.
  bool stands_to(Relation relation, int background, int thing_label, const Instance& thing) const;

private:
  // What pixels from (left, top) to before (right, bottom) hold; both are clipped to the map.
  std::size_t count(int label, int left, int top, int right, int bottom) const;
  Instance box(int label, int left, int top, int right, int bottom) const;
  Instance facing(Relation relation, int background, const Instance& thing) const;
  bool carries(int background, int thing_label, const Instance& thing) const;
  bool is_near(int background, const Instance& thing) const;

  std::span<const std::uint8_t> labels_;
  int height_, width_;
};

}  // namespace fgdm
