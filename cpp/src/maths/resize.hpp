#pragma once

#include <span>

namespace fgdm {

// Resizes planes of (height, width) each, as many as there are: linearly between pixels' centres,
// as PyTorch's interpolate(mode="bilinear", align_corners=False) does. `resized` has as many
// planes.
void resize_bilinear(std::span<const float> planes, int height, int width, std::span<float> resized,
                     int resized_height, int resized_width);

}  // namespace fgdm
