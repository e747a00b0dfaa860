#include "fgdm/noise.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <set>
#include <vector>

#include <gtest/gtest.h>

namespace fgdm {
namespace {

using Block = std::array<std::uint32_t, 4>;

std::vector<float> noise(std::uint64_t seed, std::uint32_t candidate, std::uint32_t factor,
                         std::size_t size) {
  std::vector<float> result(size);
  normal_noise(seed, candidate, factor, result);
  return result;
}

double correlation(const std::vector<float>& a, const std::vector<float>& b) {
  double sum = 0.0;
  for (std::size_t i = 0; i < a.size(); ++i)
    sum += double{a[i]} * double{b[i]};
  return sum / static_cast<double>(a.size());
}

// Protects the bit-exactness of the generator on every platform: Random123's known answers.
TEST(PhiloxTest, MatchesThePublishedKnownAnswers) {
  EXPECT_EQ(philox4x32({0, 0, 0, 0}, {0, 0}),
            (Block{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  EXPECT_EQ(philox4x32({0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff}, {0xffffffff, 0xffffffff}),
            (Block{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(philox4x32({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}),
            (Block{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

// Protects the promise that a request's noise doesn't depend on how it is batched: a shorter row is
// a prefix of a longer one.
TEST(NormalNoiseTest, ElementsDontDependOnTheLength) {
  const auto whole = noise(7, 1, 0, 1003);
  for (const std::size_t size : {0U, 1U, 2U, 3U, 4U, 5U, 1002U})
    EXPECT_TRUE(std::equal(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(size),
                           noise(7, 1, 0, size).begin()))
        << size;
}

// Protects the documented layout of key and counter, by which any program can make the same noise.
TEST(NormalNoiseTest, FollowsTheDocumentedLayout) {
  const std::uint64_t seed = 0x0123456789abcdef;
  const auto values = noise(seed, 5, 2, 64);
  for (std::uint32_t i = 0; i < 64; ++i) {
    const Block words = philox4x32({i / 4, 0, 5, 2}, {0x89abcdef, 0x01234567});
    const std::size_t pair = 2 * ((i % 4) / 2);
    const double u = (words[pair] + 0.5) / 4294967296.0;
    const double angle = 2.0 * std::acos(-1.0) * words[pair + 1] / 4294967296.0;
    const double expected =
        std::sqrt(-2.0 * std::log(u)) * (i % 2 == 0 ? std::cos(angle) : std::sin(angle));
    EXPECT_NEAR(double{values[i]}, expected, 1e-6) << i;
  }
}

// Protects against two candidates, factors or requests starting from the same latents.
TEST(NormalNoiseTest, EveryPartOfTheKeySelectsAnotherStream) {
  std::set<std::vector<float>> streams;
  for (const std::uint64_t seed : {0ULL, 1ULL, 0xffffffffULL, 0x100000000ULL, 0x100000001ULL})
    for (std::uint32_t candidate = 0; candidate < 10; ++candidate)
      for (std::uint32_t factor = 0; factor < 3; ++factor)
        streams.insert(noise(seed, candidate, factor, 16));
  EXPECT_EQ(streams.size(), 150U);
}

// Protects the independence of neighbouring streams: their correlation is that of chance.
TEST(NormalNoiseTest, StreamsAreUncorrelated) {
  constexpr std::size_t size = 100'000;
  const double chance = 5.0 / std::sqrt(double{size});
  const auto base = noise(42, 0, 0, size);
  EXPECT_NEAR(correlation(base, noise(43, 0, 0, size)), 0.0, chance);
  EXPECT_NEAR(correlation(base, noise(42, 1, 0, size)), 0.0, chance);
  EXPECT_NEAR(correlation(base, noise(42, 0, 1, size)), 0.0, chance);
  for (const std::ptrdiff_t lag : {1, 2, 3, 4, 64})
    EXPECT_NEAR(correlation({base.begin(), base.end() - lag}, {base.begin() + lag, base.end()}),
                0.0, chance)
        << lag;
}

// Protects what the model expects of its input: mean 0, variance 1, no skew, a normal's tails.
TEST(NormalNoiseTest, HasTheMomentsOfANormalDistribution) {
  constexpr std::size_t size = 400'000;
  double moments[4] = {};
  for (const float value : noise(2026, 3, 1, size))
    for (int power = 0; power < 4; ++power)
      moments[power] += std::pow(double{value}, power + 1) / double{size};
  // Each bound is five standard errors: sqrt(Var[z^k] / n) with Var = 1, 2, 15 and 96.
  const double root = std::sqrt(double{size});
  EXPECT_NEAR(moments[0], 0.0, 5.0 * std::sqrt(1.0) / root);
  EXPECT_NEAR(moments[1], 1.0, 5.0 * std::sqrt(2.0) / root);
  EXPECT_NEAR(moments[2], 0.0, 5.0 * std::sqrt(15.0) / root);
  EXPECT_NEAR(moments[3], 3.0, 5.0 * std::sqrt(96.0) / root);
}

// Protects the whole shape of the distribution: the Kolmogorov-Smirnov test at level 0.001, for
// each of the four positions in a block, since each has its own formula.
TEST(NormalNoiseTest, PassesKolmogorovSmirnov) {
  constexpr std::size_t size = 50'000;
  const auto values = noise(11, 0, 0, 4 * size);
  for (std::size_t position = 0; position < 4; ++position) {
    std::vector<double> sorted;
    for (std::size_t i = position; i < values.size(); i += 4)
      sorted.push_back(double{values[i]});
    std::sort(sorted.begin(), sorted.end());
    double statistic = 0.0;
    for (std::size_t i = 0; i < size; ++i) {
      const double expected = 0.5 * std::erfc(-sorted[i] / std::sqrt(2.0));
      statistic = std::max({statistic, expected - static_cast<double>(i) / double{size},
                            static_cast<double>(i + 1) / double{size} - expected});
    }
    EXPECT_LT(statistic, 1.95 / std::sqrt(double{size})) << position;
  }
}

}  // namespace
}  // namespace fgdm
