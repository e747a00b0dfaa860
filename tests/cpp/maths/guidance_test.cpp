#include "fgdm/guidance.hpp"

#include <cmath>
#include <vector>

#include <gtest/gtest.h>

#include "fgdm/error.hpp"

namespace fgdm {
namespace {

GuidanceConfig segfree(double start) {
  GuidanceConfig config;
  config.kind = GuidanceKind::segfree;
  config.segfree_start = start;
  return config;
}

int num_cfg_steps(int num_steps, const GuidanceConfig& config) {
  int count = 0;
  bool was_segfree = false;
  for (int step = 0; step < num_steps; ++step) {
    const bool is_segfree = phase_at(step, num_steps, config).segfree;
    EXPECT_FALSE(was_segfree && !is_segfree) << "classifier-free after segmentation-free";
    was_segfree = is_segfree;
    count += is_segfree ? 0 : 1;
  }
  return count;
}

// Protects the meaning of guidance_scale: the paper's (1 + w) positive - w negative, with w = g
// - 1.
TEST(CombineTest, MatchesEquation4OfThePaper) {
  const std::vector<float> negative = {0.0F, 1.0F, -2.5F, 3.0F};
  const std::vector<float> positive = {1.0F, 1.0F, 0.5F, -4.0F};
  for (const float scale : {0.0F, 1.0F, 3.5F, 7.5F}) {
    std::vector<float> out(4);
    combine(negative, positive, scale, out);
    const double w = double{scale} - 1.0;
    for (std::size_t i = 0; i < out.size(); ++i)
      EXPECT_NEAR(double{out[i]}, (1.0 + w) * double{positive[i]} - w * double{negative[i]}, 1e-5);
  }
}

// Protects the packed batch, where the result overwrites one of its inputs.
TEST(CombineTest, WorksInPlace) {
  std::vector<float> negative = {1.0F, 2.0F};
  std::vector<float> positive = {3.0F, 5.0F};
  const std::vector<float> expected = {5.0F, 8.0F};
  auto out = negative;
  combine(out, positive, 2.0F, out);
  EXPECT_EQ(out, expected);
  combine(negative, positive, 2.0F, positive);
  EXPECT_EQ(positive, expected);
}

// Protects classifier-free guidance as the case of one term, to the bit.
TEST(GuideTest, WithOneTermIsCombine) {
  std::vector<float> negative, positive;
  for (int i = 0; i < 97; ++i) {
    negative.push_back(std::sin(1.7F * static_cast<float>(i)));
    positive.push_back(std::cos(0.3F * static_cast<float>(i)));
  }
  for (const float scale : {0.0F, 1.3F, 7.5F}) {
    std::vector<float> expected(97), out(97);
    combine(negative, positive, scale, expected);
    const GuidanceTerm term{positive, scale};
    guide(negative, {&term, 1}, out);
    EXPECT_EQ(out, expected);
  }
}

TEST(GuideTest, SumsTermsInTheirCells) {
  const std::vector<float> base = {1.0F, 2.0F, 3.0F, 4.0F};  // two channels of two cells
  const std::vector<float> a = {2.0F, 2.0F, 2.0F, 2.0F}, b = {0.0F, 0.0F, 0.0F, 0.0F};
  const std::vector<std::uint8_t> right = {0, 1};
  const std::vector<GuidanceTerm> terms = {{a, 10.0F}, {b, -1.0F, right}};
  std::vector<float> out = base;
  guide(out, terms, out);
  EXPECT_EQ(out, (std::vector<float>{11.0F, 4.0F, -7.0F, -12.0F}));
}

TEST(GuideTest, RefusesWhatDoesNotFit) {
  const std::vector<float> four(4), three(3);
  std::vector<float> out(4);
  const std::vector<std::uint8_t> cells(3);
  const GuidanceTerm small{three, 1.0F}, uneven{four, 1.0F, cells};
  EXPECT_THROW(guide(four, {&small, 1}, out), RequestError);
  EXPECT_THROW(guide(four, {&uneven, 1}, out), RequestError);
  EXPECT_THROW(guide(three, {}, out), RequestError);
}

// numpy.quantile([0, 1, 2, 3, 4, 5], 0.7) is 3.5.
TEST(StrongestCellsTest, TakesTheQuantileOfTheSumOverChannels) {
  const std::vector<float> base(12, 1.0F);
  std::vector<float> row(12, 1.0F);
  for (std::size_t i = 0; i < 6; ++i) {
    row[i] -= 0.25F * static_cast<float>(i);  // the differences add up whatever their signs
    row[6 + i] += 0.75F * static_cast<float>(i);
  }
  EXPECT_EQ(strongest_cells(base, row, 2, 0.7), (std::vector<std::uint8_t>{0, 0, 0, 0, 1, 1}));
  EXPECT_EQ(strongest_cells(base, row, 2, 0.6), (std::vector<std::uint8_t>{0, 0, 0, 1, 1, 1}));
  EXPECT_EQ(strongest_cells(base, row, 2, 1.0), (std::vector<std::uint8_t>{0, 0, 0, 0, 0, 1}));
  EXPECT_EQ(strongest_cells(base, row, 2, 0.0), (std::vector<std::uint8_t>(6, 1)));
  const std::vector<std::uint8_t> left = {1, 1, 1, 0, 0, 0};
  EXPECT_EQ(strongest_cells(base, row, 2, 0.7, left),
            (std::vector<std::uint8_t>{0, 1, 1, 0, 0, 0}));
}

TEST(StrongestCellsTest, RefusesWhatDoesNotFit) {
  const std::vector<float> four(4), three(3);
  EXPECT_THROW(strongest_cells(four, three, 2, 0.5), RequestError);
  EXPECT_THROW(strongest_cells(four, four, 3, 0.5), RequestError);
  EXPECT_THROW(strongest_cells(four, four, 0, 0.5), RequestError);
}

TEST(CombineTest, RefusesDifferentSizes) {
  std::vector<float> two(2);
  std::vector<float> three(3);
  EXPECT_THROW(combine(two, three, 1.0F, two), RequestError);
  EXPECT_THROW(combine(three, two, 1.0F, two), RequestError);
  EXPECT_THROW(combine(two, two, 1.0F, three), RequestError);
}

// Protects factors without segmentation-free guidance: nothing of it leaks in.
TEST(PhaseTest, ClassifierFreeNeverSwitches) {
  GuidanceConfig config;
  config.segfree_start = 0.0;
  for (int step = 0; step < 20; ++step) {
    const GuidancePhase phase = phase_at(step, 20, config);
    EXPECT_FALSE(phase.segfree);
    EXPECT_EQ(phase.guidance_scale, 7.5F);
    EXPECT_EQ(phase.attn_scale_negative, 1.0F);
  }
}

// Protects Algorithm 1 with its published parameters: T = 20, t_s = 10, a = 10, w-bar = 2.5.
TEST(PhaseTest, SwitchesHalfWayAsInThePaper) {
  const GuidanceConfig config = segfree(0.5);
  EXPECT_EQ(num_cfg_steps(20, config), 10);
  EXPECT_FALSE(phase_at(9, 20, config).segfree);
  const GuidancePhase phase = phase_at(10, 20, config);
  EXPECT_TRUE(phase.segfree);
  EXPECT_EQ(phase.guidance_scale, 1.0F + 2.5F);
  EXPECT_EQ(phase.attn_scale_negative, -10.0F);
}

// Protects the rounding of segfree_start * num_steps: to nearest, halves up.
TEST(PhaseTest, RoundsTheSwitchHalfUp) {
  EXPECT_EQ(num_cfg_steps(20, segfree(0.0)), 0);
  EXPECT_EQ(num_cfg_steps(20, segfree(1.0)), 20);
  EXPECT_EQ(num_cfg_steps(5, segfree(0.5)), 3);
  EXPECT_EQ(num_cfg_steps(1, segfree(0.5)), 1);
  EXPECT_EQ(num_cfg_steps(10, segfree(0.24)), 2);
  EXPECT_EQ(num_cfg_steps(10, segfree(0.26)), 3);
}

// Protects diffusers' meaning of a small scale: up to 1 the positive row is all there is.
TEST(PhaseTest, AScaleUpToOneIsNoGuidance) {
  for (const float scale : {0.0F, 0.5F, 1.0F}) {
    GuidanceConfig config = segfree(0.5);
    config.guidance_scale = scale;
    EXPECT_EQ(phase_at(0, 20, config).rows(), 1);
    EXPECT_EQ(phase_at(0, 20, config).guidance_scale, 1.0F);
    EXPECT_EQ(phase_at(10, 20, config).rows(), 2);  // the other steps have a scale of their own
    config.segfree_guidance_scale = scale;
    EXPECT_EQ(phase_at(10, 20, config).rows(), 1);
  }
  GuidanceConfig config = segfree(1.0);
  config.guidance_scale = 1.01F;
  EXPECT_EQ(phase_at(0, 20, config).rows(), 2);
}

TEST(PhaseTest, RefusesImpossibleArguments) {
  EXPECT_THROW(phase_at(-1, 20, segfree(0.5)), RequestError);
  EXPECT_THROW(phase_at(20, 20, segfree(0.5)), RequestError);
  EXPECT_THROW(phase_at(0, 0, segfree(0.5)), RequestError);
  EXPECT_THROW(phase_at(0, 20, segfree(-0.1)), RequestError);
  EXPECT_THROW(phase_at(0, 20, segfree(1.1)), RequestError);
}

}  // namespace
}  // namespace fgdm
