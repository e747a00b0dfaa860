#include "fgdm/sampler.hpp"

#include <cmath>
#include <cstddef>
#include <limits>

#include <gtest/gtest.h>

#include "fgdm/error.hpp"

namespace fgdm::sampler_test {
namespace {

constexpr SamplerKind kinds[] = {SamplerKind::ddim, SamplerKind::dpmsolver_multistep};
constexpr SamplerKind all_kinds[] = {SamplerKind::ddim,
                                     SamplerKind::dpmsolver_multistep,
                                     SamplerKind::dpmsolver_sde,
                                     SamplerKind::euler,
                                     SamplerKind::euler_ancestral,
                                     SamplerKind::unipc,
                                     SamplerKind::lcm,
                                     SamplerKind::tcd};

// A process x_t = alpha x0 + sigma noise whose data is normal with a known mean and deviation: the
// exact noise prediction and the exact path of the probability flow have closed forms.
struct NormalData {
  double mean;
  double deviation;

  double spread(double alpha_cumprod) const {
    return std::sqrt(alpha_cumprod * deviation * deviation + 1.0 - alpha_cumprod);
  }
  double noise(double x, double alpha_cumprod) const {
    const double alpha = std::sqrt(alpha_cumprod);
    const double sigma = std::sqrt(1.0 - alpha_cumprod);
    return sigma * (x - alpha * mean) / std::pow(spread(alpha_cumprod), 2);
  }
  // Where the path that ends `z` standard deviations from the mean is at this level.
  double path(double z, double alpha_cumprod) const {
    return std::sqrt(alpha_cumprod) * mean + spread(alpha_cumprod) * z;
  }
};

// Runs steps first .. last - 1 on one value.
double run(const Sampler& sampler, const std::vector<double>& cumprod, const NormalData& data,
           double x, int last) {
  std::vector<float> sample = {static_cast<float>(x)};
  std::vector<float> predicted_x0 = {std::numeric_limits<float>::quiet_NaN()};
  std::vector<float> older = predicted_x0;
  for (int i = 0; i < last; ++i) {
    const auto time = static_cast<std::size_t>(sampler.timesteps()[static_cast<std::size_t>(i)]);
    const std::vector<float> eps = {
        static_cast<float>(data.noise(double{sample[0]}, cumprod[time]))};
    auto step = sampler.coefficients(i);
    const auto before = predicted_x0;
    if (step.older != 0.0F) {
      predicted_x0 = blended_history(step, predicted_x0, older);
      step.history = 1.0F;
    }
    sampler_step(step, eps, sample, predicted_x0);
    sample[0] += step.noise * (i % 2 == 0 ? 0.8F : -1.1F);
    older = before;
  }
  return double{sample[0]};
}

// The schedule with so many timesteps that it is continuous for a sampler.
NoiseSchedule fine_schedule() {
  NoiseSchedule schedule;
  schedule.num_train_timesteps = 100'000;
  schedule.beta_start /= 100.0;
  schedule.beta_end /= 100.0;
  return schedule;
}

// The error half way through the schedule after about num_steps / 2 steps.
double error_at_half(SamplerKind kind, int num_steps) {
  const NoiseSchedule schedule = fine_schedule();
  const auto cumprod = alphas_cumprod(schedule);
  const Sampler sampler(kind, schedule, num_steps);
  const NormalData data{0.7, 0.4};
  const int middle = num_steps / 2;
  const auto at = [&](int i) {
    return cumprod[static_cast<std::size_t>(sampler.timesteps()[static_cast<std::size_t>(i)])];
  };
  const double end = run(sampler, cumprod, data, data.path(1.3, at(0)), middle);
  return std::abs(end - data.path(1.3, at(middle)));
}

// Protects the samplers' exactness: if the noise is predicted right, which it is for data that is
// one point, every step lands on the forward process, whatever noise it adds, for any number of
// steps. LCM's boundary condition keeps a little of the noisy sample.
TEST(SamplerTest, TheTrueNoiseLeadsToTheTrueImage) {
  const auto cumprod = alphas_cumprod({});
  const NormalData point{-0.8, 0.0};
  for (const int n : {1, 2, 3, 5, 10, 14, 15, 20, 50}) {
    for (const SamplerKind kind : all_kinds) {
      const Sampler sampler(kind, {}, n);
      const double start = cumprod[static_cast<std::size_t>(sampler.timesteps()[0])];
      if (kind == SamplerKind::tcd) {  // ends with the noise of timestep 0
        EXPECT_NEAR(run(sampler, cumprod, point, point.path(1.1, start), n), -0.8, 0.05) << n;
        continue;
      }
      const double end = kind == SamplerKind::ddim ? cumprod[0] : 1.0;
      EXPECT_NEAR(run(sampler, cumprod, point, point.path(1.1, start), n), point.path(1.1, end),
                  2e-5)
          << n;
    }
  }
}

// Protects the convergence to the exact path of the probability flow: first order for DDIM, second
// for DPM-Solver++(2M). An error in any coefficient shows as a lost order.
TEST(SamplerTest, ConvergesWithItsOrder) {
  const auto order = [](SamplerKind kind, int num_steps) {
    return std::log2(error_at_half(kind, num_steps) / error_at_half(kind, 2 * num_steps + 1));
  };
  EXPECT_NEAR(order(SamplerKind::ddim, 39), 1.0, 0.15);
  EXPECT_NEAR(order(SamplerKind::ddim, 79), 1.0, 0.1);
  EXPECT_NEAR(order(SamplerKind::dpmsolver_multistep, 39), 2.0, 0.3);
  EXPECT_LT(error_at_half(SamplerKind::dpmsolver_multistep, 39),
            0.1 * error_at_half(SamplerKind::ddim, 39));
}

// Protects the whole of a run, the last step included: with many steps the sampled distribution is
// the data's.
TEST(SamplerTest, ReachesTheDataDistribution) {
  const NoiseSchedule schedule = fine_schedule();
  const auto cumprod = alphas_cumprod(schedule);
  const NormalData data{0.7, 0.4};
  for (const SamplerKind kind : kinds) {
    const Sampler sampler(kind, schedule, 5000);
    const double start = cumprod[static_cast<std::size_t>(sampler.timesteps()[0])];
    const double end = kind == SamplerKind::ddim ? cumprod[0] : 1.0;
    for (const double z : {-2.0, 0.0, 1.5})
      EXPECT_NEAR(run(sampler, cumprod, data, data.path(z, start), 5000), data.path(z, end), 1e-3);
  }
}

// Protects DDIM's steps against its equation 12, evaluated in double, for each step and spacing.
TEST(SamplerTest, DdimIsEquation12) {
  for (const char* spacing : {"leading", "trailing", "linspace"}) {
    NoiseSchedule schedule;
    schedule.ddim_spacing = *timestep_spacing(spacing);
    const auto cumprod = alphas_cumprod(schedule);
    const Sampler sampler(SamplerKind::ddim, schedule, 20);
    for (int i = 0; i < 20; ++i) {
      const int time = static_cast<int>(sampler.timesteps()[static_cast<std::size_t>(i)]);
      const double from = cumprod[static_cast<std::size_t>(time)];
      const double to = cumprod[static_cast<std::size_t>(std::max(0, time - 50))];
      std::vector<float> sample = {0.3F, -1.2F};
      const std::vector<float> eps = {0.9F, 0.1F};
      std::vector<float> x0(2);
      const auto before = sample;
      sampler_step(sampler.coefficients(i), eps, sample, x0);
      for (std::size_t j = 0; j < 2; ++j) {
        const double predicted =
            (double{before[j]} - std::sqrt(1.0 - from) * double{eps[j]}) / std::sqrt(from);
        const double next = std::sqrt(to) * predicted + std::sqrt(1.0 - to) * double{eps[j]};
        EXPECT_NEAR(double{x0[j]}, predicted, 1e-6 * std::max(1.0, std::abs(predicted)));
        EXPECT_NEAR(double{sample[j]}, next, 1e-6 * std::max(1.0, std::abs(predicted)));
      }
    }
  }
}

// Protects DPM-Solver++(2M)'s steps against its algorithm 2 (with lambda, h and r as the paper has
// them), first-order at both ends, evaluated in double.
TEST(SamplerTest, DpmSolverIsAlgorithm2) {
  const auto cumprod = alphas_cumprod({});
  for (const int n : {2, 5, 20}) {
    const Sampler sampler(SamplerKind::dpmsolver_multistep, {}, n);
    const auto level = [&](int i) {
      return cumprod[static_cast<std::size_t>(sampler.timesteps()[static_cast<std::size_t>(i)])];
    };
    const auto lambda = [&](int i) { return 0.5 * std::log(level(i) / (1.0 - level(i))); };
    for (int i = 0; i < n; ++i) {
      std::vector<float> sample = {0.3F};
      const std::vector<float> eps = {0.9F};
      std::vector<float> x0 = {-0.5F};  // of the step before
      sampler_step(sampler.coefficients(i), eps, sample, x0);
      const double from = level(i);
      const double predicted = (0.3 - std::sqrt(1.0 - from) * 0.9) / std::sqrt(from);
      double next = predicted;
      if (i + 1 < n) {
        const double h = lambda(i + 1) - lambda(i);
        double direction = predicted;
        if (i > 0) {
          const double r = (lambda(i) - lambda(i - 1)) / h;
          direction = (1.0 + 1.0 / (2.0 * r)) * predicted - 1.0 / (2.0 * r) * -0.5;
        }
        next = std::sqrt((1.0 - level(i + 1)) / (1.0 - from)) * 0.3 -
               std::sqrt(level(i + 1)) * (std::exp(-h) - 1.0) * direction;
      }
      const double tolerance = 2e-6 * std::max(1.0, std::abs(predicted));
      EXPECT_NEAR(double{sample[0]}, next, tolerance) << i << " of " << n;
      EXPECT_NEAR(double{x0[0]}, predicted, tolerance);
    }
  }
}

// Protects the other end of DDIM: diffusers' set_alpha_to_one=True returns the predicted image.
TEST(SamplerTest, DdimEndsAtTheImageIfToldTo) {
  NoiseSchedule schedule;
  schedule.set_alpha_to_one = true;
  const Sampler sampler(SamplerKind::ddim, schedule, 10);
  std::vector<float> sample = {0.3F};
  std::vector<float> x0(1);
  sampler_step(sampler.coefficients(9), std::vector<float>{0.9F}, sample, x0);
  EXPECT_EQ(sample, x0);
  const double alpha = std::sqrt(alphas_cumprod(schedule)[1]);
  EXPECT_NEAR(double{x0[0]}, (0.3 - std::sqrt(1.0 - alpha * alpha) * 0.9) / alpha, 1e-6);
}

// Protects v-prediction: with v = alpha epsilon - sigma x0 every sampler takes the same steps as
// with epsilon.
TEST(SamplerTest, TheModelMayPredictV) {
  NoiseSchedule v_schedule;
  v_schedule.prediction = Prediction::v;
  for (const SamplerKind kind : all_kinds) {
    const Sampler of_noise(kind, {}, 5), of_v(kind, v_schedule, 5);
    for (int i = 0; i < 5; ++i) {
      const auto level = of_noise.level(i);
      const double x = 0.3, epsilon = 0.9, x0 = (x - level.sigma * epsilon) / level.alpha;
      std::vector<float> one = {0.3F}, other = {0.3F}, clean = {-0.5F}, other_clean = {-0.5F};
      sampler_step(of_noise.coefficients(i), std::vector<float>{0.9F}, one, clean);
      const std::vector<float> v = {static_cast<float>(level.alpha * epsilon - level.sigma * x0)};
      sampler_step(of_v.coefficients(i), v, other, other_clean);
      const double tolerance = 1e-5 * std::max(1.0, std::abs(x0));
      EXPECT_NEAR(one[0], other[0], tolerance) << sampler_name(kind) << " " << i;
      EXPECT_NEAR(clean[0], other_clean[0], tolerance) << sampler_name(kind) << " " << i;
    }
  }
}

// Protects what a part of a run begins with: no step looks at x0 of steps that were not taken.
TEST(SamplerTest, TheFirstStepHasNoHistory) {
  for (const SamplerKind kind : all_kinds)
    for (const int first : {0, 3}) {
      const Sampler sampler(kind, {}, 6, first);
      EXPECT_EQ(sampler.coefficients(first).history, 0.0F) << sampler_name(kind);
      EXPECT_EQ(sampler.coefficients(first).older, 0.0F);
      EXPECT_EQ(sampler.coefficients(first + 1).older, 0.0F);
      EXPECT_EQ(sampler.keeps_older(), kind == SamplerKind::unipc && first == 0);
      EXPECT_EQ(sampler.coefficients(5).noise, 0.0F) << "the last step adds none";
    }
}

TEST(SamplerTest, RefusesWrongSizesAndSteps) {
  const Sampler ddim(SamplerKind::ddim, {}, 10);
  std::vector<float> two(2);
  std::vector<float> x0(2);
  std::vector<float> three(3);
  EXPECT_THROW(sampler_step(ddim.coefficients(0), three, two, x0), RequestError);
  EXPECT_THROW(sampler_step(ddim.coefficients(0), two, two, three), RequestError);
  EXPECT_THROW(ddim.coefficients(-1), RequestError);
  EXPECT_THROW(ddim.coefficients(10), RequestError);
}

}  // namespace
}  // namespace fgdm::sampler_test
