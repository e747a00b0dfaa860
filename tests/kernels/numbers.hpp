#pragma once

// 16-bit numbers to and from double on the CPU, rounding halves to even.

#include <bit>
#include <cmath>
#include <cstdint>
#include <type_traits>

#include "half.hpp"
#include "host_device.hpp"

namespace fgdm::kernels::test {

inline double to_double(float value) {
  return double{value};
}

inline double to_double(Float16 value) {
  return double{half_to_float(value.bits)};
}

inline double to_double(BFloat16 value) {
  return double{std::bit_cast<float>(std::uint32_t{value.bits} << 16U)};
}

template <typename T> T from_double(double value) {
  const auto narrow = static_cast<float>(value);
  if constexpr (std::is_same_v<T, float>) {
    return narrow;
  } else if constexpr (std::is_same_v<T, Float16>) {
    return {float_to_half(narrow)};
  } else {
    const auto bits = std::bit_cast<std::uint32_t>(narrow);
    if (std::isnan(narrow))
      return {static_cast<std::uint16_t>(bits >> 16U | 0x40U)};
    return {static_cast<std::uint16_t>((bits + 0x7FFFU + (bits >> 16U & 1U)) >> 16U)};
  }
}

}  // namespace fgdm::kernels::test
