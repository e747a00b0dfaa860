#include "fgdm/schedule.hpp"

#include <cmath>
#include <cstddef>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "fgdm/error.hpp"
#include "fgdm/sampler.hpp"

namespace fgdm::schedule_test {
namespace {

constexpr SamplerKind kinds[] = {SamplerKind::ddim, SamplerKind::dpmsolver_multistep};
constexpr TimestepSpacing spacings[] = {TimestepSpacing::leading, TimestepSpacing::trailing,
                                        TimestepSpacing::linspace};

NoiseSchedule spaced(TimestepSpacing spacing) {
  NoiseSchedule schedule;
  schedule.ddim_spacing = schedule.dpmsolver_spacing = spacing;
  return schedule;
}

// Stable Diffusion's betas, the last replaced by 1: only noise is left at timestep 999.
NoiseSchedule ends_in_noise(TimestepSpacing spacing) {
  auto schedule = spaced(spacing);
  const auto cumprod = alphas_cumprod({});
  for (std::size_t t = 0; t < 1000; ++t)
    schedule.trained_betas.push_back(t == 999 ? 1.0
                                              : 1.0 - cumprod[t] / (t == 0 ? 1.0 : cumprod[t - 1]));
  return schedule;
}

// Protects the schedule of Stable Diffusion: betas are linear in their square roots.
TEST(ScheduleTest, AlphasCumprodIsTheProduct) {
  const auto scaled = alphas_cumprod({});
  ASSERT_EQ(scaled.size(), 1000U);
  EXPECT_DOUBLE_EQ(scaled[0], 1.0 - 0.00085);
  EXPECT_NEAR(1.0 - scaled[999] / scaled[998], 0.012, 1e-12);
  const double root_of_middle_beta = 0.5 * (std::sqrt(0.00085) + std::sqrt(0.012));
  EXPECT_NEAR(1.0 - scaled[500] / scaled[499], std::pow(root_of_middle_beta, 2), 2e-5);
  NoiseSchedule schedule;
  schedule.beta_schedule = "linear";
  const auto linear = alphas_cumprod(schedule);
  EXPECT_NEAR(1.0 - linear[500] / linear[499], 0.5 * (0.00085 + 0.012), 1e-5);
  for (std::size_t t = 1; t < scaled.size(); ++t)
    EXPECT_LT(scaled[t], scaled[t - 1]);
}

// Protects schedules that no formula of ours makes: their betas are taken as they are.
TEST(ScheduleTest, TrainedBetasReplaceTheFormula) {
  NoiseSchedule schedule;
  schedule.beta_schedule = "squaredcos_cap_v2";
  schedule.num_train_timesteps = 3;
  schedule.trained_betas = {0.5, 0.25, 1.0};
  EXPECT_EQ(alphas_cumprod(schedule), (std::vector<double>{0.5, 0.375, 0.0}));
}

TEST(ScheduleTest, RefusesImpossibleSchedules) {
  const auto broken = [](auto change) {
    NoiseSchedule schedule;
    change(schedule);
    EXPECT_THROW(alphas_cumprod(schedule), BundleError);
    EXPECT_THROW(Sampler(SamplerKind::ddim, schedule, 10), BundleError);
  };
  broken([](NoiseSchedule& s) { s.num_train_timesteps = 0; });
  broken([](NoiseSchedule& s) { s.beta_start = 0.0; });
  broken([](NoiseSchedule& s) { s.beta_end = 1.0; });
  broken([](NoiseSchedule& s) { s.beta_end = std::nan(""); });
  broken([](NoiseSchedule& s) { s.beta_schedule = "cosine"; });
  broken([](NoiseSchedule& s) { s.steps_offset = -1; });
  broken([](NoiseSchedule& s) { s.trained_betas.assign(999, 0.1); });
  broken([](NoiseSchedule& s) { s.trained_betas.assign(1000, 0.0); });
  broken([](NoiseSchedule& s) { s.trained_betas.assign(1000, std::nan("")); });
  broken([](NoiseSchedule& s) { s.trained_betas.assign(1000, 1.0); });
}

TEST(ScheduleTest, RefusesASchedulesOfNoiseAlone) {
  NoiseSchedule schedule;
  schedule.trained_betas.assign(1000, 0.5);  // 0.5^1000: nothing is left long before the end
  EXPECT_THROW(alphas_cumprod(schedule), BundleError);
}

// Protects the timesteps that models are trained to expect, by the published formulas (Lin et al.,
// "Common Diffusion Noise Schedules and Sample Steps are Flawed", table 2) worked out by hand.
TEST(TimestepsTest, FollowTheSpacing) {
  using Times = std::vector<double>;
  const auto dpm = SamplerKind::dpmsolver_multistep;
  const auto leading = spaced(TimestepSpacing::leading);
  EXPECT_EQ(timesteps(leading, 4), (Times{751, 501, 251, 1}));
  EXPECT_EQ(timesteps(leading, 1), (Times{1}));
  EXPECT_EQ(timesteps(leading, 4, dpm), (Times{801, 601, 401, 201}));
  const auto trailing = spaced(TimestepSpacing::trailing);
  EXPECT_EQ(timesteps(trailing, 4), (Times{999, 749, 499, 249}));
  EXPECT_EQ(timesteps(trailing, 3), (Times{999, 666, 332}));
  EXPECT_EQ(timesteps(trailing, 4, dpm), (Times{999, 749, 499, 249}));
  const auto linspace = spaced(TimestepSpacing::linspace);
  EXPECT_EQ(timesteps(linspace, 4), (Times{999, 666, 333, 0}));
  EXPECT_EQ(timesteps(linspace, 1), (Times{0}));
  EXPECT_EQ(timesteps(linspace, 3, dpm), (Times{999, 666, 333}));
}

// Protects that each sampler has its own spacing.
TEST(TimestepsTest, AreSpacedBySampler) {
  NoiseSchedule schedule;
  schedule.dpmsolver_spacing = TimestepSpacing::linspace;
  EXPECT_EQ(timesteps(schedule, 10, SamplerKind::ddim).front(), 901);
  EXPECT_EQ(timesteps(schedule, 10, SamplerKind::dpmsolver_multistep).front(), 999);
}

// Protects what a request or a factor says against the schedule's own spacing.
TEST(TimestepsTest, ASpacingReplacesTheSchedules) {
  using Times = std::vector<double>;
  EXPECT_EQ(timesteps({}, 4, SamplerKind::ddim, TimestepSpacing::trailing),
            (Times{999, 749, 499, 249}));
  const Sampler sampler(SamplerKind::dpmsolver_multistep, {}, 3, 0, TimestepSpacing::linspace);
  EXPECT_EQ(Times(sampler.timesteps().begin(), sampler.timesteps().end()), (Times{999, 666, 333}));
  try {
    timesteps({}, 1000, SamplerKind::dpmsolver_multistep, TimestepSpacing::linspace);
    FAIL() << "nothing was thrown";
  } catch (const RequestError& error) {
    EXPECT_NE(std::string(error.what()).find("the most that works is 999"), std::string::npos)
        << error.what();
  }
}

// Protects every number of steps a request may ask for: as many timesteps, inside the schedule, and
// descending, or a refusal; and only "leading" spacing refuses any of those below 1000.
TEST(TimestepsTest, AreDistinctAndInsideTheSchedule) {
  for (const auto spacing : spacings)
    for (const SamplerKind kind : kinds)
      for (int n = 1; n <= 999; ++n) {
        std::vector<double> times;
        try {
          times = timesteps(spaced(spacing), n, kind);
        } catch (const RequestError&) {
          ASSERT_EQ(spacing, TimestepSpacing::leading) << n;
          continue;
        }
        ASSERT_EQ(times.size(), static_cast<std::size_t>(n));
        for (std::size_t i = 0; i < times.size(); ++i)
          ASSERT_TRUE(times[i] >= 0 && times[i] < 1000 && (i == 0 || times[i] < times[i - 1]));
      }
}

// Protects pictures from starting as pure noise where the model expects more picture than noise.
TEST(TimestepsTest, LeadingSpacingReachesTheNoise) {
  const auto refused = [](int n, SamplerKind kind) {
    try {
      timesteps({}, n, kind);
    } catch (const RequestError&) {
      return true;
    }
    return false;
  };
  for (int n = 1; n <= 1000; ++n) {
    const bool skips = (n >= 334 && n <= 374) || (n >= 501 && n <= 749);
    EXPECT_EQ(refused(n, SamplerKind::ddim), skips || n == 1000) << n;
    // One more interval than steps.
    EXPECT_EQ(refused(n - 1, SamplerKind::dpmsolver_multistep), skips || n == 1 || n == 1000) << n;
  }
}

// Protects the combinations that inspect and an engine's notes warn of, and those that they don't.
TEST(TimestepsTest, FewLeadingStepsAreAKnownWeakness) {
  const auto weakness = [](int n, SamplerKind kind, TimestepSpacing spacing) {
    return known_weakness({}, n, kind, spacing);
  };
  const auto dpm = SamplerKind::dpmsolver_multistep;
  const auto ten = weakness(10, SamplerKind::ddim, TimestepSpacing::leading);
  EXPECT_NE(ten.find("10 steps of ddim with leading spacing begin at timestep 901 of 1000"),
            std::string::npos)
      << ten;
  EXPECT_NE(weakness(1, SamplerKind::ddim, TimestepSpacing::linspace), "");
  EXPECT_NE(weakness(5, dpm, TimestepSpacing::leading), "");
  EXPECT_EQ(weakness(20, SamplerKind::ddim, TimestepSpacing::leading), "");
  EXPECT_EQ(weakness(1, SamplerKind::ddim, TimestepSpacing::trailing), "");
  EXPECT_EQ(weakness(4, dpm, TimestepSpacing::linspace), "");
  EXPECT_EQ(weakness(4, dpm, TimestepSpacing::karras), "");
  EXPECT_EQ(weakness(4, SamplerKind::lcm, TimestepSpacing::trailing), "");
  EXPECT_EQ(weakness(5000, dpm, TimestepSpacing::leading), "") << "which is refused anyway";
}

TEST(TimestepsTest, RefusalsNameTheOptionAndWhatWorks) {
  const auto message = [](int n, const NoiseSchedule& schedule, const char* asked) {
    try {
      timesteps(schedule, n, SamplerKind::ddim, std::nullopt, asked);
    } catch (const RequestError& error) {
      return std::string(error.what());
    }
    return std::string("nothing was thrown");
  };
  const auto has = [](const std::string& text, const std::string& part) {
    EXPECT_NE(text.find(part), std::string::npos) << text;
  };
  has(message(1000, {}, "condition_steps"), "condition_steps is 1000; ");
  has(message(1000, {}, "condition_steps"), "the most that works is 999");
  has(message(2147483647, {}, "num_inference_steps"), "the most that works is 999");
  has(message(-2147483647 - 1, {}, "num_inference_steps"), "the least that works is 1");
  has(message(0, {}, "num_inference_steps"), "expected at least 1; the least that works is 1");
  has(message(501, {}, "num_inference_steps"), "would begin at timestep 501 of 1000");
  has(message(501, {}, "num_inference_steps"), "the nearest that work are 500 and 750");
}

// Protects DDIM from a division by zero, and DPM-Solver++ from infinite ratios: diffusers takes
// 2^-24 for what is left of the picture there.
TEST(TimestepsTest, StartFromPureNoiseOnlyWhereTheSamplerCan) {
  for (const auto spacing : {TimestepSpacing::trailing, TimestepSpacing::linspace}) {
    const auto schedule = ends_in_noise(spacing);
    EXPECT_THROW(timesteps(schedule, 10), RequestError);
    const Sampler sampler(SamplerKind::dpmsolver_multistep, schedule, 10);
    EXPECT_EQ(sampler.timesteps().front(), 999);
    EXPECT_EQ(sampler.coefficients(0).x0_from_sample, 4096.0F);
    for (int i = 0; i < 10; ++i)
      EXPECT_TRUE(std::isfinite(sampler.coefficients(i).x0 + sampler.coefficients(i).history));
  }
  const auto leading = ends_in_noise(TimestepSpacing::leading);
  EXPECT_EQ(timesteps(leading, 10).front(), 901);
  EXPECT_THROW(timesteps(leading, 500), RequestError) << "begins at timestep 999";
}

}  // namespace
}  // namespace fgdm::schedule_test
