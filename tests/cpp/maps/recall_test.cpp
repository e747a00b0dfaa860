#include "fgdm/recall.hpp"

#include <algorithm>
#include <random>
#include <set>

#include <gtest/gtest.h>

#include "fgdm/error.hpp"

namespace fgdm {
namespace {

using Labels = std::vector<std::uint8_t>;
using Classes = std::vector<int>;

// Protects the definition: found classes over requested classes.
TEST(MeasureTest, CountsFoundClasses) {
  const Labels labels = {0, 0, 0, 0, 0, 0, 3, 3, 7, 255};
  const MapRecall map = measure(labels, Classes{3, 5, 0}, 0.002);
  EXPECT_DOUBLE_EQ(map.recall, 2.0 / 3.0);
  EXPECT_EQ(map.found, (Classes{3, 0}));
  EXPECT_EQ(map.missing, (Classes{5}));
  EXPECT_DOUBLE_EQ(map.smallest_area, 0.2);
}

// Protects the threshold: a class with exactly min_area is found, one pixel less is not.
TEST(MeasureTest, NeedsAtLeastTheMinimalArea) {
  Labels labels(1000, 9);
  std::fill_n(labels.begin(), 2, std::uint8_t{1});
  EXPECT_EQ(measure(labels, Classes{1}, 0.002).recall, 1.0);
  labels[0] = 9;
  EXPECT_EQ(measure(labels, Classes{1}, 0.002).recall, 0.0);
  EXPECT_EQ(measure(labels, Classes{1}, 0.0).recall, 1.0);
  EXPECT_EQ(measure(labels, Classes{2}, 0.0).recall, 0.0) << "no pixel at all";
}

// Protects prompts that name no class of the palette: every map complies with them.
TEST(MeasureTest, NothingRequestedIsFullRecall) {
  const MapRecall map = measure(Labels{1, 2}, Classes{}, 0.002);
  EXPECT_EQ(map.recall, 1.0);
  EXPECT_TRUE(map.found.empty() && map.missing.empty());
}

// Protects prompts that name a class twice.
TEST(MeasureTest, CountsARepeatedClassOnce) {
  const MapRecall map = measure(Labels{1, 2}, Classes{1, 1, 4, 4, 4}, 0.002);
  EXPECT_DOUBLE_EQ(map.recall, 0.5);
  EXPECT_EQ(map.found, (Classes{1}));
  EXPECT_EQ(map.missing, (Classes{4}));
}

// Protects the measurement against any map: sets of labels, computed the slow way.
TEST(MeasureTest, AgreesWithSetsOnRandomMaps) {
  std::mt19937 random(1);
  for (int round = 0; round < 200; ++round) {
    Labels labels(64);
    for (auto& label : labels)
      label = static_cast<std::uint8_t>(random() % 12);
    Classes requested;
    for (int label = 0; label < 20; label += 1 + static_cast<int>(random() % 4))
      requested.push_back(label);
    const std::set<int> present(labels.begin(), labels.end());
    const auto num_found = std::count_if(requested.begin(), requested.end(),
                                         [&](int label) { return present.contains(label); });
    const MapRecall map = measure(labels, requested, 1.0 / 64.0);
    EXPECT_DOUBLE_EQ(map.recall,
                     static_cast<double>(num_found) / static_cast<double>(requested.size()));
    EXPECT_EQ(map.found.size(), static_cast<std::size_t>(num_found));
    EXPECT_EQ(map.found.size() + map.missing.size(), requested.size());
  }
}

TEST(MeasureTest, RefusesImpossibleArguments) {
  EXPECT_THROW(measure(Labels{}, Classes{1}, 0.0), RequestError);
  EXPECT_THROW(measure(Labels{1}, Classes{-1}, 0.0), RequestError);
  EXPECT_THROW(measure(Labels{1}, Classes{255}, 0.0), RequestError);
  EXPECT_THROW(measure(Labels{1}, Classes{1}, -0.1), RequestError);
  EXPECT_THROW(measure(Labels{1}, Classes{1}, 1.1), RequestError);
}

// Protects the choice: recall first, then the smallest object's area, then the order of candidates.
TEST(SelectTest, PrefersRecallThenAreaThenOrder) {
  const auto map = [](double recall, double area) { return MapRecall{recall, {}, {}, area}; };
  EXPECT_EQ(select(std::vector{map(0.5, 0.9), map(1.0, 0.1)}), 1U);
  EXPECT_EQ(select(std::vector{map(1.0, 0.1), map(1.0, 0.3), map(1.0, 0.2)}), 1U);
  EXPECT_EQ(select(std::vector{map(0.5, 0.2), map(0.5, 0.2)}), 0U);
  EXPECT_EQ(select(std::vector{map(0.0, 0.0)}), 0U);
  EXPECT_THROW(select(std::vector<MapRecall>{}), RequestError);
}

// Protects the choice by compliance: never at a loss of recall, never a refused map before another.
TEST(SelectTest, TakesComplianceAfterRecallAndRefusedMapsLast) {
  const auto map = [](double recall, double compliance, double area, bool refused = false) {
    return MapRecall{recall, {}, {}, area, compliance, refused};
  };
  EXPECT_EQ(select(std::vector{map(1.0, 0.5, 0.9), map(1.0, 0.6, 0.1)}), 1U);
  EXPECT_EQ(select(std::vector{map(0.9, 0.9, 0.9), map(1.0, 0.1, 0.1)}), 1U);
  EXPECT_EQ(select(std::vector{map(1.0, 1.0, 0.9, true), map(0.1, 0.1, 0.1)}), 1U);
  EXPECT_EQ(better_half(std::vector{map(1, 1, 1, true), map(0, 0, 0), map(0, 0, 0)}),
            (std::vector<std::size_t>{1, 2}));
}

}  // namespace
}  // namespace fgdm
