#pragma once

// What fgdm_picture_to_planes and fgdm_planes_to_picture do with one pixel, the same on host and
// device. The core's rules are in fgdm/palette.hpp (image_to_rgb).

#include "guided_step.hpp"
#include "host_device.hpp"
#include "label_rules.hpp"

namespace fgdm::kernels {

inline constexpr int most_side = 1 << 15;

struct PictureArguments {
  int pixels;
  const float* planes;
  const unsigned char* original;
  const unsigned char* anew;  // nullptr: all pixels
  unsigned char* rgb;
};

// A byte as a number from 0 to 1; centred, from -1 to 1.
FGDM_HOST_DEVICE float level_as_number(unsigned char level, bool centred) {
  const float unit = static_cast<float>(level) / 255.0F;
  return centred ? 2.0F * unit - 1.0F : unit;
}

FGDM_HOST_DEVICE void spread_pixel(int pixels, bool centred, const unsigned char* rgb,
                                   float* planes, int pixel) {
  for (int channel = 0; channel < 3; ++channel)
    planes[static_cast<std::int64_t>(channel) * pixels + pixel] =
        level_as_number(rgb[static_cast<std::int64_t>(pixel) * 3 + channel], centred);
}

// Whether the pixel's numbers are finite. Thread rounds.
template <class Thread>
FGDM_HOST_DEVICE bool paint_pixel(Thread& thread, const PictureArguments& arguments, int pixel) {
  const bool kept = arguments.anew != nullptr && arguments.anew[pixel] == 0;
  bool finite = true;
  for (int channel = 0; channel < 3; ++channel) {
    const std::int64_t at = static_cast<std::int64_t>(pixel) * 3 + channel;
    const float value =
        arguments.planes[static_cast<std::int64_t>(channel) * arguments.pixels + pixel];
    finite = finite && is_finite(value);
    arguments.rgb[at] =
        kept ? arguments.original[at] : static_cast<unsigned char>(color_level(thread, value));
  }
  return finite;
}

}  // namespace fgdm::kernels
