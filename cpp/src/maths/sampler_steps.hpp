#pragma once

#include <vector>

#include "fgdm/sampler.hpp"

namespace fgdm {

// The steps of a sampler from each level to the next; `levels` has one more than `timesteps`, the
// last of which is without noise. `first`: the step that is taken first, which has no history.
std::vector<StepCoefficients> step_coefficients(SamplerKind kind, const NoiseSchedule& schedule,
                                                const std::vector<double>& timesteps,
                                                const std::vector<NoiseLevel>& levels, int first);

}  // namespace fgdm
