// The way back into noise: with the remainders that were found, a sampler's steps land where they
// shall; without an edit that is the picture that was inverted.
#include <cmath>
#include <cstdint>

#include <gtest/gtest.h>

#include "fgdm/error.hpp"
#include "fgdm/noise.hpp"
#include "fgdm/sampler.hpp"

namespace fgdm::inversion_test {
namespace {

using Row = std::vector<float>;
constexpr std::size_t elements = 48;
constexpr int steps = 12, first = 2;

Row normal(std::uint64_t seed) {
  Row values(elements);
  normal_noise(seed, 0, 0, values);
  return values;
}

// Neither linear nor the same at all times.
Row model(const Row& x, double timestep) {
  Row made;
  for (const float value : x)
    made.push_back(
        static_cast<float>(0.7 * double{value} + 0.5 * std::sin(2.0 * double{value} + timestep)));
  return made;
}

Row noised(const Row& clean, const Row& noise, const NoiseLevel& level) {
  Row made;
  for (std::size_t i = 0; i < clean.size(); ++i)
    made.push_back(
        static_cast<float>(level.alpha * double{clean[i]} + level.sigma * double{noise[i]}));
  return made;
}

// The latents as noisy as before step `index`, of noise that is another for every level.
Row on_the_way(const Sampler& sampler, const Row& clean, int index) {
  return index == steps
             ? clean
             : noised(clean, normal(100 + static_cast<std::uint64_t>(index)), sampler.level(index));
}

struct Inverted {
  Row latents;
  std::vector<Row> remainders;
};

Inverted invert(const Sampler& sampler, const Row& clean) {
  Inverted made{on_the_way(sampler, clean, first), {}};
  Row x = made.latents, x0(elements);
  for (int i = first; i < steps; ++i) {
    sampler_step(sampler.coefficients(i),
                 model(x, sampler.timesteps()[static_cast<std::size_t>(i)]), x, x0);
    made.remainders.push_back(found_remainder(x, on_the_way(sampler, clean, i + 1)));
  }
  return made;
}

Row replay(const Sampler& sampler, const Inverted& inverted) {
  Row x = inverted.latents, x0(elements);
  for (int i = first; i < steps; ++i) {
    sampler_step(sampler.coefficients(i),
                 model(x, sampler.timesteps()[static_cast<std::size_t>(i)]), x, x0);
    for (std::size_t e = 0; e < elements; ++e)
      x[e] += inverted.remainders[static_cast<std::size_t>(i - first)][e];
  }
  return x;
}

class EditFriendly : public ::testing::TestWithParam<std::pair<SamplerKind, double>> {};

// Protects reconstruction: no error adds up from step to step.
TEST_P(EditFriendly, TheWayBackEndsAtThePicture) {
  const auto [kind, eta] = GetParam();
  const Sampler sampler(kind, {}, steps, first, std::nullopt, eta);
  const auto clean = normal(1);
  const auto end = replay(sampler, invert(sampler, clean));
  for (std::size_t i = 0; i < elements; ++i)
    EXPECT_NEAR(double{end[i]}, double{clean[i]}, 1e-6);
}

// Protects the meaning of the noise maps: where the model knows the noise of the latents that it is
// given, a remainder is exactly what is new in the next ones, whose variance is the step's.
TEST_P(EditFriendly, RemaindersOfAPerfectModelHaveTheNoiseThatTheNextLatentsNeed) {
  const auto [kind, eta] = GetParam();
  const Sampler sampler(kind, {}, steps, first, std::nullopt, eta);
  const auto clean = normal(1);
  for (int i = first; i + 1 < steps; ++i) {
    auto x = on_the_way(sampler, clean, i);
    const auto eps = normal(100 + static_cast<std::uint64_t>(i));
    Row x0 = clean;  // the step before predicted it too
    const auto& step = sampler.coefficients(i);
    sampler_step(step, eps, x, x0);
    const auto remainder = found_remainder(x, on_the_way(sampler, clean, i + 1));
    const auto next = normal(101 + static_cast<std::uint64_t>(i));
    const auto to = sampler.level(i + 1);
    // What the step keeps of the old noise has the variance that the new noise leaves.
    const double kept = std::sqrt(to.sigma * to.sigma - double{step.noise} * double{step.noise});
    for (std::size_t e = 0; e < elements; ++e)
      EXPECT_NEAR(double{remainder[e]}, to.sigma * double{next[e]} - kept * double{eps[e]}, 2e-5)
          << "step " << i;
  }
}

INSTANTIATE_TEST_SUITE_P(Samplers, EditFriendly,
                         ::testing::Values(std::pair(SamplerKind::ddim, 1.0),
                                           std::pair(SamplerKind::dpmsolver_sde, 0.0)));

// Song et al., equation 16 in float64.
TEST(DdimWithEta, HasTheVarianceOfThePaper) {
  const NoiseSchedule schedule;
  const auto cumprod = alphas_cumprod(schedule);
  const Sampler sampler(SamplerKind::ddim, schedule, 20, 0, std::nullopt, 1.0);
  for (int i = 0; i < 20; ++i) {
    const auto time = static_cast<std::size_t>(sampler.timesteps()[static_cast<std::size_t>(i)]);
    const double at = cumprod[time], to = time < 50 ? cumprod[0] : cumprod[time - 50];
    const double variance = (1.0 - to) / (1.0 - at) * (1.0 - at / to);
    const auto& step = sampler.coefficients(i);
    EXPECT_NEAR(double{step.noise}, std::sqrt(variance), 1e-6) << i;
    EXPECT_NEAR(double{step.epsilon}, std::sqrt(1.0 - to - variance), 1e-6) << i;
    EXPECT_NEAR(double{step.x0}, std::sqrt(to), 1e-6) << i;
  }
}

TEST(DdimWithEta, IsOfDdimAloneAndAllOrNothing) {
  EXPECT_THROW(Sampler(SamplerKind::euler, {}, 10, 0, std::nullopt, 1.0), RequestError);
  EXPECT_THROW(Sampler(SamplerKind::ddim, {}, 10, 0, std::nullopt, 0.5), RequestError);
}

// Protects the way back of plain DDIM: where the model predicts the same noise on the way there and
// back, each step undoes the sampler's own, for both kinds of models.
TEST(DdimInverse, UndoesTheSamplersSteps) {
  NoiseSchedule schedule;
  for (const auto prediction : {Prediction::epsilon, Prediction::v}) {
    schedule.prediction = prediction;
    const Sampler forward(SamplerKind::ddim, schedule, steps);
    const auto inverse = Sampler::ddim_inverse(schedule, steps, first);
    ASSERT_EQ(inverse.timesteps().size(), static_cast<std::size_t>(steps - first));
    const auto clean = normal(1), eps = normal(2);
    // What a model that knows the noise says of latents at a level.
    const auto output = [&](const NoiseLevel& level) {
      return prediction == Prediction::epsilon ? eps
                                               : noised(eps, clean, {level.alpha, -level.sigma});
    };
    const auto cumprod = alphas_cumprod(schedule);
    const NoiseLevel end{std::sqrt(cumprod[0]), std::sqrt(1.0 - cumprod[0])};
    Row x = noised(clean, eps, end), x0(elements);
    for (int i = 0; i < steps - first; ++i) {
      const auto at = i == 0 ? end : inverse.level(i);
      EXPECT_EQ(inverse.timesteps()[static_cast<std::size_t>(i)],
                forward.timesteps()[static_cast<std::size_t>(steps - 1 - i)]);
      sampler_step(inverse.coefficients(i), output(at), x, x0);
    }
    const auto there = noised(clean, eps, forward.level(first));
    for (std::size_t e = 0; e < elements; ++e)
      EXPECT_NEAR(double{x[e]}, double{there[e]}, 1e-5);
    for (int i = first; i < steps; ++i)
      sampler_step(forward.coefficients(i), output(forward.level(i)), x, x0);
    const auto back = noised(clean, eps, end);
    for (std::size_t e = 0; e < elements; ++e)
      EXPECT_NEAR(double{x[e]}, double{back[e]}, 1e-4);
  }
}

TEST(FoundRemainder, RefusesDifferentSizes) {
  Row two(2);
  EXPECT_THROW(found_remainder(two, Row(3)), RequestError);
}

}  // namespace
}  // namespace fgdm::inversion_test
