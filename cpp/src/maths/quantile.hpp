#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace fgdm {

// 1 where a value is at least the quantile `part`, 0 to 1, of all of them, between values linearly;
// else 0. What isn't finite has no order: then 1 everywhere, so that it reaches the latents, where
// it is found. There is a value at least.
std::vector<std::uint8_t> at_least_quantile(std::span<const float> values, double part);

}  // namespace fgdm
