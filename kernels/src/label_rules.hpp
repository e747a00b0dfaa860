#pragma once

// The rules of fgdm_decode_labels, the same on host and device. The core's are in fgdm/palette.hpp
// and fgdm/recall.hpp.

#include "fgdm/kernels.h"
#include "host_device.hpp"

namespace fgdm::kernels {

inline constexpr int unlabeled_class = 255;
inline constexpr int color_levels = 256;
inline constexpr int classes_per_word = 32;
inline constexpr int max_class_words = 8;

FGDM_HOST_DEVICE constexpr int class_words(int classes) {
  return (classes + classes_per_word - 1) / classes_per_word;
}

// A channel in [-1, 1] as a byte: clamped, halves to even, NaN is 0. Thread rounds.
template <class Thread> FGDM_HOST_DEVICE int color_level(Thread& thread, float value) {
  const float unit = value / 2.0F + 0.5F;
  const float clamped = unit > 0.0F ? (unit < 1.0F ? unit : 1.0F) : 0.0F;
  return static_cast<int>(thread.round(clamped * 255.0F));
}

// L infinity, L1 and index in one number: the least is the nearest.
FGDM_HOST_DEVICE std::uint32_t color_distance(const int (&pixel)[3], const unsigned char* color,
                                              int index) {
  std::uint32_t max = 0;
  std::uint32_t sum = 0;
  for (int channel = 0; channel < 3; ++channel) {
    const int difference = pixel[channel] - color[channel];
    const auto size = static_cast<std::uint32_t>(difference < 0 ? -difference : difference);
    max = size > max ? size : max;
    sum += size;
  }
  return max << 18U | sum << 8U | static_cast<std::uint32_t>(index);  // sum has 10 bits
}

// The classes whose colour has, in one channel, a level within tolerance of `level`: one word of
// the set.
FGDM_HOST_DEVICE std::uint32_t near_classes(const unsigned char* palette, int classes, int channel,
                                            int level, int tolerance, int word) {
  std::uint32_t result = 0;
  for (int bit = 0; bit < classes_per_word; ++bit) {
    const int index = classes_per_word * word + bit;
    if (index >= classes)
      break;
    const int difference = level - palette[3 * index + channel];
    if (difference <= tolerance && -difference <= tolerance)
      result |= std::uint32_t{1} << static_cast<unsigned>(bit);
  }
  return result;
}

// A class counts as found from this many pixels on: the least n >= 1 with n / pixels >= min_area.
constexpr int least_pixels(double min_area, int pixels) {
  int least = static_cast<int>(min_area * pixels);
  least = least > 1 ? least : 1;
  while (least > 1 && static_cast<double>(least - 1) / pixels >= min_area)
    --least;
  while (static_cast<double>(least) / pixels < min_area)
    ++least;
  return least;
}

}  // namespace fgdm::kernels
