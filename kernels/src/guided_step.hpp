#pragma once

// The arithmetic of fgdm_guided_step for one element, the same on host and device. The core does
// the same in fgdm::combine and fgdm::sampler_step.

#include "fgdm/kernels.h"
#include "host_device.hpp"

namespace fgdm::kernels {

struct StepResult {
  float sample;
  float x0;
};

FGDM_HOST_DEVICE float guided_epsilon(const fgdm_step_row& row, float positive, float negative) {
  return row.negative < 0 ? positive : negative + row.guidance_scale * (positive - negative);
}

// `before` is x0 of the step before; where `history` is 0 it is not looked at, since it may never
// have been written.
FGDM_HOST_DEVICE StepResult advance(const fgdm_step_row& row, float epsilon, float sample,
                                    float before) {
  const float x0 = row.x0_from_sample * sample + row.x0_from_epsilon * epsilon;
  float next = row.sample * sample + row.epsilon * epsilon + row.x0 * x0;
  if (row.history != 0.0F)
    next += row.history * before;
  return {next, x0};
}

// Infinity less infinity, and NaN less NaN, are NaN.
FGDM_HOST_DEVICE bool is_finite(float value) {
  return value - value == 0.0F;
}

}  // namespace fgdm::kernels
