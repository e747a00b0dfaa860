#pragma once

#include <vector>

#include "fgdm/sampler.hpp"

namespace fgdm {

// The steps of a sampler from each level to the next; `levels` has one more than `timesteps`, the
// last of which is without noise. `first`: the step that is taken first, which has no history.
// `eta`: of DDIM.
std::vector<StepCoefficients> step_coefficients(SamplerKind kind, const NoiseSchedule& schedule,
                                                const std::vector<double>& timesteps,
                                                const std::vector<NoiseLevel>& levels, int first,
                                                double eta = 0.0);

// The steps back of DDIM, from the last of `timesteps` to the one of index `first`.
std::vector<StepCoefficients> inverse_ddim_coefficients(const NoiseSchedule& schedule,
                                                        const std::vector<double>& timesteps,
                                                        int first);

}  // namespace fgdm
