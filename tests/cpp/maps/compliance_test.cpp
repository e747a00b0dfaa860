// Protects what a map is said to meet: instances, counts, places, absences and filters.
#include "fgdm/compliance.hpp"

#include <gtest/gtest.h>

#include <chrono>
#include <cmath>
#include <iostream>
#include <queue>
#include <random>

#include "fgdm/error.hpp"
#include "palette_fixture.hpp"

namespace fgdm {
namespace {

using Labels = std::vector<std::uint8_t>;

// Classes 0 to 2 are things, 3 is background.
Palette palette() {
  return Palette::parse(R"({"name": "test", "classes": [
    {"index": 0, "name": "dog", "color": [255, 0, 0], "kind": "thing"},
    {"index": 1, "name": "house", "color": [0, 255, 0], "kind": "thing"},
    {"index": 2, "name": "cat", "color": [0, 0, 255], "kind": "thing"},
    {"index": 3, "name": "grass", "color": [0, 255, 255], "kind": "background"}]})");
}

// A map of 20 x 20 pixels.
struct Map {
  static constexpr int side = 20;
  Labels labels = Labels(side * side, unlabeled);

  Map& put(std::uint8_t label, int left, int top, int right, int bottom) {
    for (int y = top; y < bottom; ++y)
      for (int x = left; x < right; ++x)
        labels[static_cast<std::size_t>(y * side + x)] = label;
    return *this;
  }

  std::vector<Instance> instances(int label, int opening = 0) const {
    return find_instances(labels, side, side, label, {0.002, opening});
  }

  MapCompliance check(const Requirements& required) const {
    return check_map(palette(), labels, side, side, required);
  }
};

Requirements relation(int subject, Relation kind, int object, std::optional<int> other = {}) {
  Requirements required;
  std::optional<Mention> second;
  if (other)
    second = Mention{*other};
  required.relations = {{{subject}, kind, {object}, second}};
  return required;
}

TEST(Instances, TouchingDiagonallyIsOneAndApartIsTwo) {
  Map map;
  map.put(0, 1, 1, 3, 3).put(0, 3, 3, 5, 5).put(0, 10, 1, 12, 4);
  const auto found = map.instances(0);
  ASSERT_EQ(found.size(), 2U);
  EXPECT_EQ(found[0].area, 8U);
  EXPECT_EQ(found[0].left, 1);
  EXPECT_EQ(found[0].right, 5);
  EXPECT_EQ(found[1].area, 6U);
}

TEST(Instances, WhatIsJoinedLaterIsOne) {
  Map map;  // a U, whose arms meet in its last row
  map.put(0, 1, 1, 3, 8).put(0, 6, 1, 8, 8).put(0, 1, 8, 8, 9);
  EXPECT_EQ(map.instances(0).size(), 1U);
  EXPECT_EQ(map.instances(0).front().area, 14U + 14U + 7U);
}

TEST(Instances, OpeningCutsBridges) {
  Map map;
  map.put(0, 1, 1, 7, 7).put(0, 12, 1, 18, 7).put(0, 7, 3, 12, 5);
  EXPECT_EQ(map.instances(0).size(), 1U);
  const auto found = map.instances(0, 1);
  ASSERT_EQ(found.size(), 2U);
  EXPECT_EQ(found[0].area, 36U) << "grown back to what it was";
  EXPECT_EQ(found[0].right, 7);
}

// Of every class: as many pixels of each number as an instance has, in the order of first pixels.
TEST(Instances, NumbersOfPixelsAreTheInstancesThatAreCounted) {
  std::mt19937 random(6);
  for (int round = 0; round < 60; ++round) {
    Map map;
    for (int i = 0; i < 30; ++i) {
      const int left = static_cast<int>(random() % 18), top = static_cast<int>(random() % 18);
      const auto label = static_cast<std::uint8_t>(random() % 3);
      map.put(label, left, top, left + 1 + static_cast<int>(random() % 2),
              top + 1 + static_cast<int>(random() % 2));
    }
    const CheckOptions options{round % 2 == 0 ? 0.0 : 0.006, round % 3 == 2 ? 1 : 0};
    const auto numbers = number_instances(map.labels, Map::side, Map::side, options);
    ASSERT_EQ(numbers.size(), map.labels.size());
    std::vector<std::size_t> areas;
    std::vector<std::uint8_t> classes;
    for (std::size_t i = 0; i < numbers.size(); ++i) {
      if (numbers[i] == 0)
        continue;
      ASSERT_LE(numbers[i], areas.size() + 1) << "the next number, where it isn't known";
      if (numbers[i] > areas.size()) {
        areas.push_back(0);
        classes.push_back(map.labels[i]);
      }
      ++areas[numbers[i] - 1];
      EXPECT_EQ(map.labels[i], classes[numbers[i] - 1]);
    }
    std::ranges::sort(areas, std::greater<>{});
    std::vector<std::size_t> counted;
    for (int label = 0; label < 3; ++label)
      for (const auto& one : find_instances(map.labels, Map::side, Map::side, label, options))
        counted.push_back(one.area);
    std::ranges::sort(counted, std::greater<>{});
    EXPECT_EQ(areas, counted);
  }
}

TEST(Instances, NumbersFollowOpening) {
  Map map;
  map.put(0, 1, 1, 7, 7).put(0, 12, 1, 18, 7).put(0, 7, 3, 12, 5).put(1, 1, 12, 4, 15);
  const auto at = [&](int x, int y, int opening) {
    return number_instances(map.labels, Map::side, Map::side,
                            {0.002, opening})[static_cast<std::size_t>(y * Map::side + x)];
  };
  EXPECT_EQ(at(1, 1, 0), 1U);
  EXPECT_EQ(at(17, 6, 0), 1U);
  EXPECT_EQ(at(9, 4, 0), 1U);
  EXPECT_EQ(at(2, 13, 0), 2U);
  EXPECT_EQ(at(1, 1, 1), 1U);
  EXPECT_EQ(at(17, 6, 1), 2U) << "the bridge fell";
  EXPECT_EQ(at(9, 4, 1), 0U);
  EXPECT_EQ(at(2, 13, 1), 3U);
  EXPECT_EQ(at(0, 0, 0), 0U) << "no class";
  EXPECT_EQ(number_instances(map.labels, Map::side, Map::side, {0.5, 0})[21], 0U) << "too small";
  EXPECT_THROW(number_instances(map.labels, Map::side, Map::side + 1), RequestError);
}

// Against a flood fill, pixel by pixel.
TEST(Instances, AgreeWithAFloodFillOnRandomMaps) {
  std::mt19937 random(5);
  for (int round = 0; round < 100; ++round) {
    Map map;
    for (auto& label : map.labels)
      label = static_cast<std::uint8_t>(random() % 3);
    std::vector<bool> seen(map.labels.size());
    std::vector<std::size_t> areas;
    for (std::size_t start = 0; start < seen.size(); ++start) {
      if (seen[start] || map.labels[start] != 1)
        continue;
      std::queue<int> open;
      open.push(static_cast<int>(start));
      seen[start] = true;
      std::size_t area = 0;
      for (; !open.empty(); open.pop(), ++area)
        for (int dy = -1; dy <= 1; ++dy)
          for (int dx = -1; dx <= 1; ++dx) {
            const int y = open.front() / Map::side + dy, x = open.front() % Map::side + dx;
            if (y < 0 || x < 0 || y >= Map::side || x >= Map::side)
              continue;
            const auto at = static_cast<std::size_t>(y * Map::side + x);
            if (!seen[at] && map.labels[at] == 1) {
              seen[at] = true;
              open.push(static_cast<int>(at));
            }
          }
      areas.push_back(area);
    }
    std::ranges::sort(areas, std::greater<>{});
    std::vector<std::size_t> found;
    for (const auto& one : map.instances(1))
      found.push_back(one.area);
    EXPECT_EQ(found, areas);
  }
}

// GenEval's rule, written out with its own numbers (evaluate_images.py, relative_position).
TEST(Relations, PositionIsGenEvals) {
  std::mt19937 random(2);
  const auto box = [&] {
    const int left = static_cast<int>(random() % 40), top = static_cast<int>(random() % 40);
    return Instance{1, left, top, left + 1 + static_cast<int>(random() % 20),
                    top + 1 + static_cast<int>(random() % 20)};
  };
  for (int round = 0; round < 2000; ++round) {
    const auto a = box(), b = box();
    const double offset[2] = {(a.left + a.right - b.left - b.right) / 2.0,
                              (a.top + a.bottom - b.top - b.bottom) / 2.0};
    const double extents[2] = {double(a.right - a.left + b.right - b.left),
                               double(a.bottom - a.top + b.bottom - b.top)};
    const double norm = std::sqrt(offset[0] * offset[0] + offset[1] * offset[1]);
    double revised[2];
    for (int axis = 0; axis < 2; ++axis) {
      const double rest = std::max(std::abs(offset[axis]) - 0.1 * extents[axis], 0.0);
      revised[axis] = norm == 0.0 ? 0.0 : (offset[axis] < 0 ? -rest : rest) / norm;
    }
    EXPECT_EQ(holds(Relation::left_of, a, b, 64), revised[0] < -0.5);
    EXPECT_EQ(holds(Relation::right_of, a, b, 64), revised[0] > 0.5);
    EXPECT_EQ(holds(Relation::above, a, b, 64), revised[1] < -0.5);
    EXPECT_EQ(holds(Relation::below, a, b, 64), revised[1] > 0.5);
  }
}

TEST(Relations, EachHoldsWhereItShouldAndNotBackwards) {
  const auto yes = [](const Map& map, Relation kind, int a = 0, int b = 1) {
    return map.check(relation(a, kind, b)).compliance == 1.0;
  };
  Map beside;
  beside.put(0, 1, 10, 5, 15).put(1, 7, 8, 13, 15);
  EXPECT_TRUE(yes(beside, Relation::beside));
  EXPECT_TRUE(yes(beside, Relation::beside, 1, 0));
  EXPECT_TRUE(yes(beside, Relation::left_of));
  EXPECT_FALSE(yes(beside, Relation::right_of));
  Map far;
  far.put(0, 0, 10, 2, 15).put(1, 17, 8, 20, 15);
  EXPECT_FALSE(yes(far, Relation::beside));
  Map over;
  over.put(0, 8, 1, 11, 4).put(1, 6, 10, 14, 18);
  EXPECT_TRUE(yes(over, Relation::above));
  EXPECT_TRUE(yes(over, Relation::under, 1, 0));
  EXPECT_TRUE(yes(over, Relation::behind)) << "higher on the ground";
  EXPECT_TRUE(yes(over, Relation::in_front_of, 1, 0));
  EXPECT_FALSE(yes(over, Relation::on)) << "its feet don't reach it";
  Map on;
  on.put(1, 5, 10, 15, 16).put(0, 8, 6, 11, 12);
  EXPECT_TRUE(yes(on, Relation::on));
  EXPECT_FALSE(yes(on, Relation::on, 1, 0));
  Map ground;
  ground.put(3, 0, 5, 20, 20).put(0, 8, 14, 11, 19);
  EXPECT_TRUE(yes(ground, Relation::on, 0, 3)) << "standing low on a ground is on it, too";
}

TEST(Relations, BetweenTakesTwoClassesOrTwoOfOne) {
  Map map;
  map.put(1, 0, 5, 4, 10).put(0, 8, 5, 11, 10).put(2, 15, 5, 19, 10);
  EXPECT_EQ(map.check(relation(0, Relation::between, 1, 2)).relations, 1.0);
  EXPECT_EQ(map.check(relation(1, Relation::between, 0, 2)).relations, 0.0);
  Requirements two;
  two.relations = {{{0}, Relation::between, {1, 2}, Mention{1, 2}}};
  EXPECT_EQ(map.check(two).relations, 0.0) << "there is one only";
  map.put(1, 15, 5, 19, 10);
  EXPECT_EQ(map.check(two).relations, 1.0);
}

TEST(Relations, HoldForAsManyAsAreCounted) {
  Map map;
  map.put(0, 0, 5, 4, 9).put(1, 8, 4, 12, 10).put(0, 15, 5, 18, 8);
  EXPECT_EQ(map.check(relation(0, Relation::left_of, 1)).relations, 1.0) << "the larger dog is";
  Requirements two;
  two.counts = {{0, 2, 2}};
  two.relations = {{{0, 2}, Relation::left_of, {1}, {}}};
  EXPECT_EQ(map.check(two).relations, 0.0) << "of two dogs one isn't";
  EXPECT_EQ(map.check(two).counts, 1.0);
  Requirements other;
  other.relations = {{{0}, Relation::right_of, {0, 1, 2}, {}}};
  EXPECT_EQ(map.check(other).relations, 1.0) << "one of the two is";
}

// "a dog left of a house and a dog above a house": not one dog for both, nor one that is neither.
TEST(Relations, BelongToTheirMention) {
  Map map;  // a dog left of the house, and one that is right of it and larger
  map.put(1, 8, 8, 12, 14).put(0, 1, 9, 4, 13).put(0, 14, 8, 19, 13);
  Requirements required;
  required.counts = {{0, 2, std::nullopt}};
  required.relations = {{{0}, Relation::left_of, {1}, {}},
                        {{0, 1, 2}, Relation::right_of, {1}, {}}};
  EXPECT_EQ(map.check(required).relations, 1.0) << "whichever is the larger";
  required.relations[1].relation = Relation::left_of;
  EXPECT_EQ(map.check(required).relations, 0.5) << "the other dog isn't left of it";
  required.counts.clear();
  EXPECT_EQ(map.check(required).relations, 1.0) << "two mentions, perhaps of one dog";
  required.relations[1] = {{0}, Relation::right_of, {1}, {}};
  EXPECT_EQ(map.check(required).relations, 0.5) << "the same dog is on one side only";
  map.put(2, 14, 1, 18, 5);
  required.relations[1] = {{0}, Relation::under, {2}, {}};
  EXPECT_EQ(map.check(required).relations, 0.5) << "another dog is under the cat";
  required.relations[0].relation = Relation::right_of;
  EXPECT_EQ(map.check(required).relations, 1.0);
}

// What an exhaustive search finds, on random maps of few instances.
TEST(Relations, AsManyHoldAsCan) {
  std::mt19937 random(3);
  const Relation kinds[] = {Relation::left_of, Relation::above, Relation::beside, Relation::under};
  for (int round = 0; round < 200; ++round) {
    Map map;
    for (int cell = 0; cell < 16; ++cell)
      if (const auto label = random() % 4; label < 2)
        map.put(static_cast<std::uint8_t>(label), cell % 4 * 5 + 1, cell / 4 * 5 + 1,
                cell % 4 * 5 + 3 + static_cast<int>(random() % 2), cell / 4 * 5 + 4);
    const auto a = map.instances(0), b = map.instances(1);
    if (a.size() < 3 || b.empty() || a.size() > 8 || b.size() > 8)
      continue;
    Requirements required;  // two different dogs, one house
    required.counts = {{0, 2, std::nullopt}};
    const auto first = kinds[random() % 4], second = kinds[random() % 4],
               third = kinds[random() % 4];
    required.relations = {
        {{0}, first, {1}, {}}, {{0, 1, 2}, second, {1}, {}}, {{0}, third, {0, 1, 2}, {}}};
    int best = 0;
    for (std::size_t i = 0; i < a.size(); ++i)
      for (std::size_t j = 0; j < a.size(); ++j)
        for (const auto& house : b)
          if (i != j)
            best = std::max(best, holds(first, a[i], house, Map::side) +
                                      holds(second, a[j], house, Map::side) +
                                      holds(third, a[i], a[j], Map::side));
    EXPECT_DOUBLE_EQ(map.check(required).relations, best / 3.0);
  }
}

// Grass, sea and the like fill much of a map; what counts are their pixels that face the thing.
TEST(Relations, WithABackgroundAreWithItsPixels) {
  const auto yes = [](const Map& map, Relation kind) {
    return map.check(relation(0, kind, 3)).compliance == 1.0;
  };
  Map shore;  // dry land on the left, water on the right
  shore.put(3, 10, 0, 20, 20).put(0, 5, 8, 9, 12);
  EXPECT_TRUE(yes(shore, Relation::beside));
  EXPECT_TRUE(yes(shore, Relation::left_of));
  EXPECT_FALSE(yes(shore, Relation::right_of));
  EXPECT_FALSE(yes(shore, Relation::on));
  Map inland;
  inland.put(3, 16, 0, 20, 20).put(0, 1, 8, 4, 12);
  EXPECT_FALSE(yes(inland, Relation::beside)) << "too far";
  Map swimming;
  swimming.put(3, 0, 8, 20, 20).put(0, 8, 10, 12, 14);
  EXPECT_TRUE(yes(swimming, Relation::on));
  EXPECT_FALSE(yes(swimming, Relation::beside)) << "it is on it";
  Map flying;  // in a corner, where the boxes' centres are far apart sideways
  flying.put(3, 0, 12, 20, 20).put(0, 0, 2, 3, 5);
  EXPECT_TRUE(yes(flying, Relation::above));
  EXPECT_FALSE(yes(flying, Relation::below));
  EXPECT_FALSE(yes(flying, Relation::on));
  EXPECT_TRUE(flying.check(relation(3, Relation::below, 0)).compliance == 1.0);
  EXPECT_TRUE(flying.check(relation(3, Relation::under, 0)).compliance == 1.0);
  flying.put(3, 19, 0, 20, 2);  // a speck of it at the top
  EXPECT_TRUE(yes(flying, Relation::above));
  Map bank;
  bank.put(3, 0, 12, 8, 20).put(1, 12, 12, 18, 18).put(0, 9, 13, 11, 17);
  EXPECT_EQ(bank.check(relation(0, Relation::between, 3, 1)).relations, 1.0);
  EXPECT_EQ(bank.check(relation(1, Relation::between, 3, 0)).relations, 0.0);
}

TEST(CheckMap, EveryKindHasItsShareAndColorsAreUnchecked) {
  Map map;
  map.put(0, 0, 5, 4, 9).put(0, 6, 5, 9, 9).put(1, 12, 4, 18, 10);
  Requirements required;
  required.present = {0, 1, 2};
  required.counts = {{0, 2, 2}, {2, 1, std::nullopt}, {1, 1, 1}};
  required.relations = {{{0}, Relation::left_of, {1}, {}}};
  required.absent = {2, 1};
  required.colors = {{1, "red"}};
  const auto found = map.check(required);
  EXPECT_DOUBLE_EQ(found.presence, 2.0 / 3.0);
  EXPECT_DOUBLE_EQ(found.counts, 2.0 / 3.0);
  EXPECT_DOUBLE_EQ(found.relations, 1.0);
  EXPECT_DOUBLE_EQ(found.absences, 0.5);
  EXPECT_DOUBLE_EQ(found.compliance, 6.0 / 9.0);
  ASSERT_EQ(found.met.size(), describe(palette(), required).size());
  EXPECT_EQ(found.met.back(), Met::unchecked);
  EXPECT_EQ(Map{}.check({}).compliance, 1.0) << "nothing is required";
}

TEST(CheckMap, RefusesWhatIsNoMap) {
  EXPECT_THROW(check_map(palette(), Labels(5), 2, 2, {}), RequestError);
  EXPECT_THROW(check_map(palette(), Labels(4), 2, 2, {}, {2.0, 0}), RequestError);
  EXPECT_THROW(check_map(palette(), Labels(4), 2, 2, {}, {0.1, 65}), RequestError);
}

TEST(Filters, RefuseOnlyWhereAllClassesAreLargeEnough) {
  Map map;
  map.put(0, 0, 0, 4, 4).put(1, 10, 10, 12, 12);  // 4 % and 1 %
  const auto refused = [&](std::vector<int> classes, double area) {
    return refusal(palette(), map.labels, std::vector<MapFilter>{{std::move(classes), area}});
  };
  EXPECT_EQ(refused({0}, 0.04), "dog");
  EXPECT_EQ(refused({0}, 0.05), "");
  EXPECT_EQ(refused({0, 1}, 0.01), "dog with house");
  EXPECT_EQ(refused({0, 1}, 0.02), "");
  EXPECT_EQ(refused({2}, 0.0), "") << "a class without a pixel";
}

// Ten maps of 512 x 512 with 183 classes are checked in 10 ms on one core; ten times that is
// allowed, as others may be at work here.
TEST(CheckMap, TakesLittleTime) {
  std::vector<testing_support::Color> colors;
  for (int i = 0; i < 183; ++i)
    colors.push_back({static_cast<std::uint8_t>(i), 0, 0});
  const auto many = testing_support::make_palette(colors);
  constexpr int side = 512, cells = 32;
  std::mt19937 random(1);
  std::vector<Labels> maps(10, Labels(side * side));
  for (auto& map : maps) {
    Labels cell(cells * cells);
    for (auto& label : cell)
      label = static_cast<std::uint8_t>(random() % 183);
    for (int y = 0; y < side; ++y)
      for (int x = 0; x < side; ++x)  // with ragged edges
        map[static_cast<std::size_t>(y * side + x)] = cell[static_cast<std::size_t>(
            y * cells / side * cells + std::min(side - 1, x + (y * 7 % 5)) * cells / side)];
  }
  Requirements required;
  for (int label = 0; label < 183; ++label) {
    required.present.push_back(label);
    required.counts.push_back({label, 2, 2});
  }
  for (int label = 1; label < 20; ++label)
    required.relations.push_back({{label}, Relation::left_of, {label - 1}, {}});
  double least = 1e9;
  for (int round = 0; round < 10; ++round) {
    const auto begin = std::chrono::steady_clock::now();
    for (const auto& map : maps)
      check_map(many, map, side, side, required);
    const std::chrono::duration<double, std::milli> took = std::chrono::steady_clock::now() - begin;
    least = std::min(least, took.count());
  }
  std::cout << "10 maps of 512 x 512, 183 classes: " << least << " ms\n";
  RecordProperty("milliseconds", std::to_string(least));
#if defined(NDEBUG) && !defined(FGDM_EMULATED)
  EXPECT_LT(least, 100.0);
#endif
}

}  // namespace
}  // namespace fgdm
