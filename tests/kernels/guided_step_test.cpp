// The arithmetic of guided_step, as the device compiles it, against float64 and against the core.

#include "guided_step.hpp"

#include <limits>
#include <random>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "fgdm/guidance.hpp"
#include "fgdm/sampler.hpp"
#include "reference.hpp"
#include "step_case.hpp"

namespace fgdm::kernels::test {
namespace {

// What the kernel does for every element, in a loop.
void run_steps(StepCase& given) {
  const auto size = static_cast<std::size_t>(given.shape.elements);
  for (std::size_t r = 0; r < given.steps.size(); ++r)
    for (std::size_t i = 0; i < size; ++i) {
      const fgdm_step_row& row = given.steps[r];
      const float positive = given.epsilon[static_cast<std::size_t>(row.positive) * size + i];
      const float negative = row.negative < 0
                                 ? positive
                                 : given.epsilon[static_cast<std::size_t>(row.negative) * size + i];
      const StepResult result = advance(row, guided_epsilon(row, positive, negative),
                                        given.sample[r * size + i], given.x0[r * size + i]);
      given.sample[r * size + i] = result.sample;
      given.x0[r * size + i] = result.x0;
      given.nonfinite[r] = is_finite(result.sample) ? given.nonfinite[r] : 1;
      for (const int to : row.input)
        if (to >= 0)
          given.next_input[static_cast<std::size_t>(to) * size + i] =
              row.input_scale * result.sample;
    }
}

// Protects rows of different phases, samplers and steps in one launch.
TEST(GuidedStep, MatchesFloat64ForMixedRows) {
  StepCase given = mixed_rows(64, 1);
  const StepCase expected = stepped_in_float64(given);
  run_steps(given);
  EXPECT_EQ(difference(given, expected, 1e-5), "");
}

// Protects the meaning of the coefficients: two steps equal the core's guidance and sampler.
TEST(GuidedStep, TakesTheCoresSteps) {
  for (const SamplerKind kind : {SamplerKind::ddim, SamplerKind::dpmsolver_multistep}) {
    const Sampler sampler(kind, NoiseSchedule{}, 10);
    std::mt19937 random(5);
    std::normal_distribution<float> normal;
    const auto draw = [&](std::size_t size) {
      std::vector<float> values(size);
      for (float& value : values)
        value = normal(random);
      return values;
    };
    StepCase given = empty_case(1, 2, 16);
    given.sample = draw(16);
    std::vector<float> latents = given.sample;
    std::vector<float> predicted(16);
    for (int step = 0; step < 3; ++step) {
      given.epsilon = draw(32);
      given.steps[0] = step_row(sampler.coefficients(step), 1, 0, 7.5F);
      run_steps(given);
      std::vector<float> guided(16);
      const std::span<const float> epsilon = given.epsilon;
      combine(epsilon.first(16), epsilon.last(16), 7.5F, guided);
      fgdm::sampler_step(sampler.coefficients(step), guided, latents, predicted);
      for (std::size_t i = 0; i < 16; ++i) {
        EXPECT_NEAR(given.sample[i], latents[i], 1e-5F) << "step " << step;
        EXPECT_NEAR(given.x0[i], predicted[i], 1e-5F) << "step " << step;
      }
    }
  }
}

// Protects first steps, where the x0 of the step before is memory that nobody has written.
TEST(GuidedStep, DoesNotReadX0WithoutHistory) {
  StepCase given = empty_case(1, 1, 4);
  given.steps[0] = step_row({1.0F, -0.5F, 0.5F, 0.25F, 0.25F, 0.0F}, 0, -1, 1.0F);
  given.x0.assign(4, std::numeric_limits<float>::quiet_NaN());
  run_steps(given);
  EXPECT_EQ(given.nonfinite[0], 0);
}

// Protects the error that replaces a black picture.
TEST(GuidedStep, FlagsRowsThatAreNotFinite) {
  for (const float bad :
       {std::numeric_limits<float>::infinity(), -std::numeric_limits<float>::infinity(),
        std::numeric_limits<float>::quiet_NaN()}) {
    StepCase given = mixed_rows(8, 2);
    const auto row = static_cast<std::size_t>(given.steps[1].positive);
    given.epsilon[row * 8 + 3] = bad;
    const StepCase expected = stepped_in_float64(given);
    run_steps(given);
    EXPECT_EQ(given.nonfinite, expected.nonfinite);
    EXPECT_EQ(given.nonfinite[1], 1);
    EXPECT_EQ(given.nonfinite[0], 0);
  }
}

TEST(GuidedStepCheck, NamesWhatIsAndWhatWasExpected) {
  fgdm_step_shape shape{1, 64, FGDM_FLOAT16, FGDM_FLOAT32};
  EXPECT_EQ(fgdm_guided_step_check(&shape), nullptr);
  shape.rows = 0;
  EXPECT_STREQ(fgdm_guided_step_check(&shape), "guided_step: rows is 0, expected 1 to 65535");
  EXPECT_NE(fgdm_guided_step_check(nullptr), nullptr);
}

}  // namespace
}  // namespace fgdm::kernels::test
