#pragma once

#include <cmath>
#include <vector>

#include "fgdm/schedule.hpp"

namespace fgdm {

inline NoiseLevel level_at(double alpha_cumprod) {
  return {std::sqrt(alpha_cumprod), std::sqrt(1.0 - alpha_cumprod)};
}

// sigma / alpha, which is the sigma of Karras et al., and the level that has it.
inline double ratio_at(double alpha_cumprod) {
  return std::sqrt((1.0 - alpha_cumprod) / alpha_cumprod);
}
inline NoiseLevel level_of(double ratio) {
  const double alpha = 1.0 / std::sqrt(1.0 + ratio * ratio);
  return {alpha, ratio * alpha};
}

// Where a schedule ends in pure noise, diffusers puts 2^-24 in its place for the samplers that go
// by noise levels, and so has an infinite ratio nowhere.
inline std::vector<double> with_some_picture(std::vector<double> cumprod) {
  if (cumprod.back() == 0.0)
    cumprod.back() = 0x1p-24;
  return cumprod;
}

}  // namespace fgdm
