#pragma once

// Inputs and outputs of guided_step, shared by the tests on the CPU and on a card.

#include <cstddef>
#include <string>
#include <vector>

#include "fgdm/kernels.h"
#include "fgdm/sampler.hpp"
#include "step_row.hpp"

namespace fgdm::kernels::test {

struct StepCase {
  fgdm_step_shape shape;
  std::vector<fgdm_step_row> steps;
  std::vector<float> epsilon;
  std::vector<float> sample;
  std::vector<float> x0;
  std::vector<float> next_input;
  std::vector<int> nonfinite;
};

// Zeros; every backbone row of the next step is unused.
StepCase empty_case(int rows, int backbone_rows, int elements);

// Seven rows of DDIM and DPM-Solver++ at different steps, guided and not, whose next inputs go to
// one, two or no rows, in no order.
StepCase mixed_rows(int elements, unsigned seed);

StepCase stepped_in_float64(const StepCase& given);

// What differs by more than `tolerance`, or "".
std::string difference(const StepCase& given, const StepCase& expected, double tolerance);

}  // namespace fgdm::kernels::test
