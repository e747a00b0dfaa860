#include "step_case.hpp"

#include <cmath>
#include <random>

#include "reference.hpp"

namespace fgdm::kernels::test {

StepCase empty_case(int rows, int backbone_rows, int elements) {
  const auto size = static_cast<std::size_t>(elements);
  const auto count = static_cast<std::size_t>(rows);
  const auto inputs = static_cast<std::size_t>(backbone_rows);
  return {{rows, elements, FGDM_FLOAT32, FGDM_FLOAT32},
          std::vector<fgdm_step_row>(count),
          std::vector<float>(inputs * size),
          std::vector<float>(count * size),
          std::vector<float>(count * size),
          std::vector<float>(inputs * size),
          std::vector<int>(count)};
}

StepCase mixed_rows(int elements, unsigned seed) {
  StepCase result = empty_case(7, 12, elements);
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  for (auto* values : {&result.epsilon, &result.sample, &result.x0})
    for (float& value : *values)
      value = normal(random);
  const Sampler ddim(SamplerKind::ddim, NoiseSchedule{}, 20);
  const Sampler solver(SamplerKind::dpmsolver_multistep, NoiseSchedule{}, 10);
  const auto& steps = result.steps = {
      step_row(ddim.coefficients(0), 0, 1, 7.5F),    step_row(ddim.coefficients(12), 11, 2, 3.5F),
      step_row(ddim.coefficients(19), 4, -1, 7.5F),  step_row(solver.coefficients(0), 3, 5, 5.0F),
      step_row(solver.coefficients(4), 6, 7, 3.5F),  step_row(solver.coefficients(9), 9, -1, 1.0F),
      step_row(solver.coefficients(5), 8, 10, 0.0F),
  };
  for (std::size_t r = 0; r < steps.size(); ++r) {
    fgdm_step_row& row = result.steps[r];
    row.input_scale = 1.0F + 0.125F * static_cast<float>(r);
    row.input[0] = r == 2 ? -1 : 11 - static_cast<int>(r);
    row.input[1] = r % 3 == 0 ? static_cast<int>(r) / 3 : -1;
  }
  return result;
}

StepCase stepped_in_float64(const StepCase& given) {
  const auto wide = [](const std::vector<float>& values) {
    return std::vector<double>(values.begin(), values.end());
  };
  const auto narrow = [](const std::vector<double>& values) {
    std::vector<float> result;
    for (const double value : values)
      result.push_back(static_cast<float>(value));
    return result;
  };
  StepCase result = given;
  auto sample = wide(given.sample);
  auto x0 = wide(given.x0);
  auto next_input = wide(given.next_input);
  reference::guided_step(given.shape, given.steps, wide(given.epsilon), sample, x0, next_input,
                         result.nonfinite);
  result.sample = narrow(sample);
  result.x0 = narrow(x0);
  result.next_input = narrow(next_input);
  return result;
}

std::string difference(const StepCase& given, const StepCase& expected, double tolerance) {
  const auto compare = [&](const char* name, const std::vector<float>& a,
                           const std::vector<float>& b) -> std::string {
    for (std::size_t i = 0; i < b.size(); ++i)
      if (!(std::abs(double{a[i]} - double{b[i]}) <= tolerance * (1.0 + std::abs(double{b[i]}))))
        return std::string(name) + "[" + std::to_string(i) + "] is " + std::to_string(a[i]) +
               ", expected " + std::to_string(b[i]);
    return "";
  };
  for (const std::string& found :
       {compare("sample", given.sample, expected.sample), compare("x0", given.x0, expected.x0),
        compare("next_input", given.next_input, expected.next_input)})
    if (!found.empty())
      return found;
  return given.nonfinite == expected.nonfinite ? "" : "the flags differ";
}

}  // namespace fgdm::kernels::test
