#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "factor_run.hpp"

namespace fgdm {

// Clean latents, as noisy as at a step.
std::vector<float> noised(std::span<const float> clean, std::span<const float> noise,
                          const NoiseLevel& level);

// The latents' cells that a mask touches: not 0 where one of their pixels isn't.
std::vector<std::uint8_t> cells_of(const Pixels& mask, const FactorSize& size);

// Puts the picture that stays, as noisy as the latents are now, back around what is painted anew.
void keep_pixels(Trajectory& trajectory);

}  // namespace fgdm
