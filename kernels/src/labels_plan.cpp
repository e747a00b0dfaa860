#include "labels_plan.hpp"

#include <algorithm>

#include "messages.hpp"

namespace fgdm::kernels {

namespace {

constexpr int max_maps = 65535;    // of a grid's second dimension
constexpr int max_side = 1 << 14;  // keeps pixel indices within int
constexpr int max_classes = 255;
// A block's table of near classes costs as much as a few pixels per thread: blocks take a few runs
// of pixels per thread, where a map is large.
constexpr int runs_per_thread = 4;

}  // namespace

LabelsPlan plan_labels(const fgdm_labels_shape& shape) {
  const int per_block = 32 * label_warps * pixels_per_thread * runs_per_thread;
  const int pixels = shape.height * shape.width;
  const int blocks = (pixels + per_block - 1) / per_block;
  return {{static_cast<unsigned>(blocks), static_cast<unsigned>(shape.maps), 1},
          label_warps,
          labels_shared_bytes(shape.classes)};
}

LabelsArguments labels_arguments(const fgdm_labels_shape& shape, const LabelsPlan& plan,
                                 const LabelsPointers& pointers) {
  const int pixels = shape.height * shape.width;
  return {pointers,
          pixels,
          shape.classes,
          shape.tolerance,
          least_pixels(shape.min_area, pixels),
          static_cast<int>(plan.grid.x),
          shape.rule == FGDM_DECODE_BOX};
}

}  // namespace fgdm::kernels

const char* fgdm_decode_labels_check(const fgdm_labels_shape* shape) {
  using namespace fgdm::kernels;
  if (shape == nullptr)
    return "decode_labels: the shape is NULL";
  const struct {
    const char* name;
    int given, least, most;
  } ranges[] = {{"maps", shape->maps, 1, max_maps},
                {"height", shape->height, 1, max_side},
                {"width", shape->width, 1, max_side},
                {"classes", shape->classes, 1, max_classes},
                {"tolerance", shape->tolerance, 0, 255}};
  for (const auto& range : ranges)
    if (range.given < range.least || range.given > range.most)
      return message("decode_labels: %s is %d, expected %d to %d", range.name, range.given,
                     range.least, range.most);
  if (!(shape->min_area >= 0.0 && shape->min_area <= 1.0))
    return message("decode_labels: min_area is %g, expected a fraction of the map from 0 to 1",
                   shape->min_area);
  if (shape->dtype != FGDM_FLOAT32 && shape->dtype != FGDM_FLOAT16)
    return message("decode_labels: dtype is %d, expected FGDM_FLOAT32 or FGDM_FLOAT16",
                   static_cast<int>(shape->dtype));
  if (shape->rule != FGDM_DECODE_NEAREST && shape->rule != FGDM_DECODE_BOX)
    return message("decode_labels: rule is %d, expected FGDM_DECODE_NEAREST or FGDM_DECODE_BOX",
                   static_cast<int>(shape->rule));
  return nullptr;
}
