#pragma once

#include "fgdm/kernels.h"
#include "fgdm/sampler.hpp"

namespace fgdm {

// A sampler's step as guided_step takes it: rows of the predicted noise, `negative` -1 where the
// row isn't guided. The next backbone batch, which is not known yet, takes nothing.
inline fgdm_step_row step_row(const StepCoefficients& step, int positive, int negative,
                              float guidance_scale) {
  fgdm_step_row row{};
  row.positive = positive;
  row.negative = negative;
  row.guidance_scale = guidance_scale;
  row.x0_from_sample = step.x0_from_sample;
  row.x0_from_epsilon = step.x0_from_epsilon;
  row.sample = step.sample;
  row.epsilon = step.epsilon;
  row.x0 = step.x0;
  row.history = step.history;
  row.input[0] = row.input[1] = -1;
  row.input_scale = 1.0F;
  return row;
}

}  // namespace fgdm
