#pragma once

#include <array>
#include <cstdint>
#include <span>

#include "fgdm/api.h"

namespace fgdm {

// One block of Philox4x32-10: a keyed bijection of the 128-bit counter (Salmon, Moraes, Dror and
// Shaw, "Parallel Random Numbers: As Easy as 1, 2, 3", SC 2011, section 3.3).
FGDM_API std::array<std::uint32_t, 4> philox4x32(std::array<std::uint32_t, 4> counter,
                                                 std::array<std::uint32_t, 2> key);

// Fills `out` with independent standard normal values.
//
// `draw` is 0 for the noise that sampling begins with, and n + 1 for that of step n of a stochastic
// sampler. out[i] depends on (seed, candidate, factor, draw, i) and on nothing else: not on the
// length of `out`, the batch, the order of calls or the number of threads. Its source is the Philox
// block
//   key     = {seed mod 2^32, seed div 2^32}
//   counter = {b, draw, candidate, factor}, b = i div 4 < 2^32
// whose words (w0, w1) give elements 4b and 4b + 1 and (w2, w3) give 4b + 2 and 4b + 3, each pair
// by the Box-Muller transform in double precision:
//   u = (w_even + 1/2) / 2^32, v = w_odd / 2^32,
//   sqrt(-2 ln u) cos(2 pi v), sqrt(-2 ln u) sin(2 pi v).
// The values lie within +-6.67. Two platforms may differ by the last bit of a float where their
// mathematical libraries differ.
FGDM_API void normal_noise(std::uint64_t seed, std::uint32_t candidate, std::uint32_t factor,
                           std::span<float> out, std::uint32_t draw = 0);

}  // namespace fgdm
