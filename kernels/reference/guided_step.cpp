#include <cmath>
#include <cstddef>

#include "reference.hpp"

namespace fgdm::kernels::reference {

void guided_step(const fgdm_step_shape& shape, std::span<const fgdm_step_row> steps,
                 std::span<const double> epsilon, std::span<double> sample, std::span<double> x0,
                 std::span<double> next_input, std::span<int> nonfinite) {
  const auto size = static_cast<std::size_t>(shape.elements);
  for (std::size_t r = 0; r < static_cast<std::size_t>(shape.rows); ++r) {
    const fgdm_step_row& row = steps[r];
    const auto predicted = [&](int from, std::size_t i) {
      return epsilon[static_cast<std::size_t>(from) * size + i];
    };
    for (std::size_t i = 0; i < size; ++i) {
      double noise = predicted(row.positive, i);
      if (row.negative >= 0) {  // (1 + w) positive - w negative, equation 4
        const double w = double{row.guidance_scale} - 1.0;
        noise = (1.0 + w) * noise - w * predicted(row.negative, i);
      }
      double& x = sample[r * size + i];
      double& clean = x0[r * size + i];
      const double before = row.history != 0.0F ? double{row.history} * clean : 0.0;
      clean = double{row.x0_from_sample} * x + double{row.x0_from_epsilon} * noise;
      x = double{row.sample} * x + double{row.epsilon} * noise + double{row.x0} * clean + before;
      if (!std::isfinite(x))
        nonfinite[r] = 1;
      if (next_input.empty())
        continue;
      for (const int to : row.input)
        if (to >= 0)
          next_input[static_cast<std::size_t>(to) * size + i] = double{row.input_scale} * x;
    }
  }
}

}  // namespace fgdm::kernels::reference
