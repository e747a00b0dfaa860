// Protects which candidates are sampled, and how far.
#include "fgdm/selection.hpp"

#include <gtest/gtest.h>

#include <vector>

namespace fgdm {
namespace {

using Indices = std::vector<int>;

std::vector<MapRecall> recalls(const std::vector<double>& values) {
  std::vector<MapRecall> maps;
  for (const double value : values)
    maps.push_back({value, {}, {}, 0.1});
  return maps;
}

TEST(Selection, WithoutRulesAllAreSampledToTheirEnd) {
  Selection selection({3, 10, {}, 0.0, 0});
  EXPECT_EQ(selection.sampling(), (Indices{0, 1, 2}));
  EXPECT_EQ(selection.until(), 10);
  EXPECT_TRUE(selection.looks());
  EXPECT_EQ(selection.seen(recalls({0.0, 1.0, 0.5})), (Indices{0, 1, 2}));
  EXPECT_TRUE(selection.done());
  EXPECT_EQ(selection.begun(), 3);
}

TEST(Selection, PruningHalvesAndTheLowerIndexWinsATie) {
  Selection selection({5, 10, {3, 6}, 0.0, 0});
  EXPECT_EQ(selection.until(), 3);
  EXPECT_EQ(selection.seen(recalls({0.5, 0.5, 1.0, 0.5, 0.0})), (Indices{3, 4}));
  EXPECT_EQ(selection.sampling(), (Indices{0, 1, 2}));
  EXPECT_EQ(selection.until(), 6);
  EXPECT_EQ(selection.seen(recalls({0.0, 0.5, 0.5})), (Indices{0}));
  EXPECT_EQ(selection.until(), 10);
  selection.seen(recalls({0.0, 0.0}));
  EXPECT_TRUE(selection.done());
}

TEST(Selection, OneThatSeemsToHaveWonIsFinishedAlone) {
  Selection selection({3, 10, {}, 1.0, 0});
  EXPECT_EQ(selection.until(), 4);
  EXPECT_TRUE(selection.seen(recalls({0.0, 1.0, 0.5})).empty());
  EXPECT_EQ(selection.sampling(), Indices{1});
  EXPECT_EQ(selection.until(), 10);
  EXPECT_EQ(selection.seen(recalls({1.0})), (Indices{1, 0, 2}));
  EXPECT_TRUE(selection.done());
}

TEST(Selection, TheOthersGoOnFromWhereTheyWereIfItHasNot) {
  Selection selection({3, 10, {}, 1.0, 0});
  selection.seen(recalls({0.0, 1.0, 0.5}));
  EXPECT_EQ(selection.seen(recalls({0.5})), Indices{1});
  EXPECT_FALSE(selection.done());
  EXPECT_EQ(selection.sampling(), (Indices{0, 2}));
  EXPECT_EQ(selection.until(), 6);
}

TEST(Selection, WavesFollowUntilOneHasWon) {
  Selection selection({5, 10, {}, 1.0, 2});
  EXPECT_EQ(selection.sampling(), (Indices{0, 1}));
  for (int look = 0; look < 3; ++look)
    selection.seen(recalls({0.0, 0.0}));
  EXPECT_EQ(selection.seen(recalls({0.0, 0.5})), (Indices{0, 1}));
  EXPECT_EQ(selection.sampling(), (Indices{2, 3}));
  EXPECT_EQ(selection.until(), 4);
  selection.seen(recalls({1.0, 0.0}));
  selection.seen(recalls({1.0}));
  EXPECT_TRUE(selection.done());
  EXPECT_EQ(selection.begun(), 4);
}

TEST(Selection, ComplianceStopsWhereItIsAskedFor) {
  Selection selection({2, 10, {}, 0.0, 1, 0.8});
  const MapRecall full{1.0, {}, {}, 0.1, 0.75}, enough{0.5, {}, {}, 0.1, 0.8};
  while (!selection.at_end())
    selection.seen({});
  selection.seen(std::vector{full});
  EXPECT_FALSE(selection.done()) << "recall doesn't count";
  while (!selection.at_end())
    selection.seen({});
  EXPECT_EQ(selection.sampling(), Indices{1});
  selection.seen(std::vector{enough});
  EXPECT_TRUE(selection.done());
}

TEST(Selection, ARefusedMapHasNotWon) {
  Selection selection({2, 10, {}, 1.0, 1});
  while (!selection.at_end())
    selection.seen({});
  selection.seen(std::vector{MapRecall{1.0, {}, {}, 0.1, 1.0, true}});
  EXPECT_FALSE(selection.done());
  EXPECT_EQ(selection.sampling(), Indices{1});
}

TEST(Selection, OneAloneIsLookedAtOnlyWhenItIsFinished) {
  Selection selection({1, 10, {3}, 0.0, 0});
  EXPECT_FALSE(selection.looks());
  EXPECT_TRUE(selection.seen({}).empty());
  EXPECT_TRUE(selection.at_end());
  EXPECT_TRUE(selection.looks());
}

TEST(Selection, GoesOnWithoutThoseThatWereLost) {
  Selection selection({2, 10, {3}, 0.0, 0});
  selection.lost(0);
  selection.lost(1);
  EXPECT_TRUE(selection.seen({}).empty());
  EXPECT_FALSE(selection.done());
  EXPECT_TRUE(selection.seen({}).empty());
  EXPECT_TRUE(selection.done());
}

}  // namespace
}  // namespace fgdm
