// Which rows the next batch holds.
#include "policy.hpp"

#include <gtest/gtest.h>

#include "fgdm/error.hpp"

namespace fgdm {
namespace {

const Resolution map_size{16, 16}, image_size{32, 32};

Waiting map_row(std::int64_t order, int step = 0, int priority = 0, int passed_over = 0) {
  return {map_size, false, 2, priority, order, step, passed_over};
}

Waiting image_row(std::int64_t order, int priority = 0) {
  return {image_size, true, 2, priority, order, 0, 0};
}

TEST(Policy, FillsABatchWithOneResolution) {
  Policy policy("latency", 6, {});
  const std::vector<Waiting> waiting{map_row(0), image_row(1), map_row(0), map_row(2), map_row(2)};
  EXPECT_EQ(policy.choose(waiting), (std::vector<std::size_t>{0, 2, 3}));
}

TEST(Policy, NothingWaits) {
  EXPECT_TRUE(Policy("latency", 6, {}).choose({}).empty());
}

TEST(Policy, OlderRequestsFirstAndCandidatesThatAreBehindFirst) {
  Policy policy("latency", 4, {});
  const std::vector<Waiting> waiting{map_row(3), map_row(1, 5), map_row(1, 4), map_row(2)};
  EXPECT_EQ(policy.choose(waiting), (std::vector<std::size_t>{2, 1}));
}

TEST(Policy, PriorityComesBeforeAgeAndSize) {
  Policy policy("latency", 2, {});
  const std::vector<Waiting> waiting{map_row(0), image_row(1), map_row(2, 0, 7)};
  EXPECT_EQ(policy.choose(waiting), (std::vector<std::size_t>{2}));
}

TEST(Policy, WhatWasPassedOverTooOftenGoesFirst) {
  Policy policy("latency", 2, {});
  const std::vector<Waiting> waiting{map_row(0, 0, 900), map_row(5, 0, -900, Policy::patience)};
  EXPECT_EQ(policy.choose(waiting), (std::vector<std::size_t>{1}));
}

// An image may be as large as another request's maps.
TEST(Policy, AtOneResolutionImagesGoBeforeMapsUnlessThroughputCounts) {
  auto small_image = image_row(5);
  small_image.resolution = map_size;
  const std::vector<Waiting> waiting{map_row(0), small_image, map_row(9, 0, 3)};
  EXPECT_EQ(Policy("latency", 4, {}).choose(waiting), (std::vector<std::size_t>{2, 1}));
  EXPECT_EQ(Policy("throughput", 4, {}).choose(waiting), (std::vector<std::size_t>{2, 0}));
}

// A burst of maps leaves pictures their share, and the other way round.
TEST(Policy, ResolutionsShareTheDevice) {
  Policy policy("latency", 2, {});
  const std::vector<Waiting> waiting{map_row(0), image_row(1)};
  std::map<Resolution, double> served;
  for (int round = 0; round < 1000; ++round) {
    const auto& chosen = waiting[policy.choose(waiting).front()];
    const double seconds = chosen.is_image ? 0.4 : 0.1;
    policy.served(chosen.resolution, 2, chosen.is_image ? 1.0 : 0.0, seconds);
    served[chosen.resolution] += seconds;
  }
  EXPECT_NEAR(served[image_size] / served[map_size], 4.0, 0.1);
}

TEST(Policy, AnIdleResolutionDoesNotSaveUpTime) {
  Policy policy("latency", 2, {});
  const std::vector<Waiting> maps{map_row(0)}, both{map_row(0), image_row(1)};
  for (int round = 0; round < 100; ++round) {
    policy.choose(maps);
    policy.served(map_size, 2, 0.0, 1.0);
  }
  int images = 0;
  for (int round = 0; round < 10; ++round) {
    const auto& chosen = both[policy.choose(both).front()];
    policy.served(chosen.resolution, 2, chosen.is_image ? 1.0 : 0.0, 1.0);
    images += chosen.is_image ? 1 : 0;
  }
  EXPECT_LT(images, 10) << "100 s of maps are not owed to the pictures";
  EXPECT_GT(images, 5);
}

// Rows of different backbones can't share a batch, and neither waits for the other for ever.
TEST(Policy, ABackboneOfItsOwnHasItsOwnBatches) {
  Policy policy("latency", 8, {{16, 16, {{2, 0.1}, {4, 0.3}}, "backbone_depth"}});
  const Resolution depth_size{16, 16, "backbone_depth"};
  auto depth_row = map_row(1);
  depth_row.resolution = depth_size;
  std::vector<Waiting> waiting{map_row(0), depth_row, map_row(2), depth_row};
  EXPECT_EQ(policy.choose(waiting), (std::vector<std::size_t>{0, 2}));
  policy.served(map_size, 4, 0.0, 1.0);
  waiting[1].passed_over = waiting[3].passed_over = 1;
  EXPECT_EQ(policy.choose(waiting), (std::vector<std::size_t>{1})) << "its profile says 2 rows";
  policy.ran_out_of_memory(map_size, 4);
  EXPECT_EQ(policy.most_rows(map_size), 2);
  EXPECT_EQ(policy.most_rows({32, 32}), 8);
}

// Latents that wait for a decoder take turns with steps, a few at a time.
TEST(Policy, DecodersTakeTurnsWithSteps) {
  for (const auto* kind : {"latency", "throughput"}) {
    Policy policy(kind, 8, {});
    auto decode = map_row(1);
    decode.resolution = {16, 16, "vae_decoder", true};
    decode.rows = 1;
    std::vector<Waiting> waiting{map_row(0), map_row(2), map_row(3), map_row(4)};
    waiting.insert(waiting.end(), 5, decode);
    std::map<bool, int> batches;
    for (int round = 0; round < 10; ++round) {
      const auto chosen = policy.choose(waiting);
      const auto& resolution = waiting[chosen.front()].resolution;
      EXPECT_EQ(chosen.size(), 4U);
      policy.served(resolution, resolution.decodes ? 4 : 8, 0.0, 1.0);
      ++batches[resolution.decodes];
    }
    EXPECT_EQ(batches[true], kind == std::string("latency") ? 8 : 5);
  }
}

// A picture's next step waits for two fifths of its own time, not for a full batch of maps.
TEST(Policy, MapsBesidePicturesComeInSmallBatches) {
  for (const bool latency : {true, false}) {
    Policy policy(latency ? "latency" : "throughput", 16, {});
    policy.served(image_size, 2, 1.0, 1.0);
    policy.served(map_size, 16, 0.0, 1.6);  // .1 s a row
    std::vector<Waiting> waiting(8, map_row(0));
    EXPECT_EQ(policy.choose(waiting).size(), 8U) << "no picture waits";
    waiting.push_back(image_row(1));
    policy.choose(waiting);
    policy.served(image_size, 2, 1.0, 1.0);
    while (waiting[policy.choose(waiting).front()].is_image)
      policy.served(image_size, 2, 1.0, 1.0);
    EXPECT_EQ(policy.choose(waiting).size(), latency ? 2U : 8U);  // .4 s are four rows of maps
  }
}

// What joins, or a decoder, between two steps of a picture leaves maps less of it.
TEST(Policy, APictureGoesNextOnceOtherWorkHasTakenItsShare) {
  Policy policy("latency", 16, {});
  policy.served(map_size, 2, 0.0, 0.2);    // .1 s a row
  policy.served(image_size, 2, 1.0, 1.0);  // .4 s of it are there for others
  std::vector<Waiting> waiting(8, map_row(0));
  waiting.push_back(image_row(1));
  policy.choose(waiting);
  policy.served(map_size, 2, 0.0, 0.2);
  policy.served(image_size, 2, 1.0, 2.0);
  EXPECT_EQ(policy.choose(waiting).size(), 4U) << "maps are behind, and .8 s are eight rows";
  policy.held_up(0.5);
  EXPECT_EQ(policy.choose(waiting).size(), 1U) << ".3 s are left";
  policy.held_up(0.4);
  EXPECT_TRUE(waiting[policy.choose(waiting).front()].is_image) << "nothing is left";
}

// A picture of lower priority is passed over, and what it waits for isn't made small.
TEST(Policy, MapsOfAHigherPriorityComeInFullBatches) {
  Policy policy("latency", 16, {});
  policy.served(image_size, 2, 1.0, 1.0);
  policy.served(map_size, 16, 0.0, 1.6);
  policy.held_up(10.0);
  std::vector<Waiting> waiting(8, map_row(0));
  for (auto& row : waiting)
    row.priority = 5;
  waiting.push_back(image_row(1));
  EXPECT_EQ(policy.choose(waiting).size(), 8U);
  waiting.back().priority = 5;
  EXPECT_TRUE(waiting[policy.choose(waiting).front()].is_image) << "it has waited long enough";
}

// Of a picture whose every second step goes through a shallow graph, both kinds count.
TEST(Policy, StepsThroughTwoGraphsShareAClock) {
  Policy policy("latency", 2, {});
  std::map<bool, int> served;
  for (int round = 0; round < 50; ++round) {
    auto image = image_row(1);
    image.resolution.graph = round % 2 == 0 ? "" : "shallow";
    const std::vector<Waiting> waiting{map_row(0), image};
    const auto& chosen = waiting[policy.choose(waiting).front()];
    policy.served(chosen.resolution, 2, chosen.is_image ? 1.0 : 0.0, 1.0);
    ++served[chosen.is_image];
  }
  EXPECT_EQ(served[true], 40) << "four fifths of the time";
}

// A request of four rows is at work when others come: by the batch times, ten rows take 1.25 of its
// time, and eleven more than 1.3.
TEST(Policy, CompanyCostsTheFirstRequestLittle) {
  const BatchTimes times{16, 16, {{4, 1.0}, {8, 1.2}, {16, 1.6}, {32, 1.8}}};
  std::vector<Waiting> waiting{map_row(0), map_row(0)};
  for (int order = 1; order < 16; ++order)
    waiting.push_back(map_row(order));
  const auto rows = [&](const char* kind) {
    return 2 * Policy(kind, 32, {times}).choose(waiting).size();
  };
  EXPECT_EQ(rows("latency"), 10U);
  EXPECT_EQ(rows("throughput"), 32U);
}

TEST(Policy, PicturesOfTwoSizesComeInFullBatches) {
  Policy policy("latency", 16, {});
  auto small = image_row(1);
  small.resolution = map_size;
  std::vector<Waiting> waiting(8, small);
  waiting.push_back(image_row(2));
  policy.choose(waiting);
  policy.served(map_size, 16, 1.0, 1.6);
  policy.served(image_size, 2, 1.0, 1.6);
  for (int round = 0; round < 2; ++round) {
    const auto chosen = policy.choose(waiting);
    const auto& resolution = waiting[chosen.front()].resolution;
    EXPECT_EQ(chosen.size(), resolution == map_size ? 8U : 1U);
    policy.served(resolution, resolution == map_size ? 16 : 2, 1.0, 1.6);
  }
}

TEST(Policy, ThroughputServesTheFullestBatch) {
  Policy policy("throughput", 8, {});
  const std::vector<Waiting> waiting{image_row(0), map_row(1), map_row(2), map_row(3)};
  EXPECT_EQ(policy.choose(waiting).size(), 3U);
}

TEST(Policy, BatchTimesSayHowManyRowsAreWorthWaitingFor) {
  const BatchTimes flat{16, 16, {{2, 0.2}, {4, 0.38}, {8, 0.75}, {16, 1.52}, {20, 2.0}}};
  const BatchTimes falling{32, 32, {{2, 0.2}, {8, 0.3}, {16, 0.4}}};
  Policy policy("latency", 12, {flat, falling});
  EXPECT_EQ(policy.most_rows(map_size), 4);     // the best, 8, is faster by 1 % a row
  EXPECT_EQ(policy.most_rows(image_size), 12);  // 16 would be worth it, but 12 is the most
  const BatchTimes small{16, 16, {{2, 0.2}, {4, 0.36}, {8, 0.8}}};
  EXPECT_EQ(Policy("latency", 32, {small}).most_rows(map_size), 4);
  EXPECT_EQ(Policy("latency", 32, {small}).most_rows(image_size), 32);
}

TEST(Policy, RemembersWhatDidNotFitInMemory) {
  Policy policy("latency", 32, {});
  policy.ran_out_of_memory(map_size, 20);
  EXPECT_EQ(policy.most_rows(map_size), 10);
  EXPECT_EQ(policy.most_rows(image_size), 32);
  for (int i = 0; i < 9; ++i)
    policy.ran_out_of_memory(map_size, policy.most_rows(map_size));
  EXPECT_EQ(policy.choose(std::vector{map_row(0), map_row(0)}).size(), 1U);
}

// Protects an engine from staying slow because somebody else took memory for a while.
TEST(Policy, TriesLargerBatchesAgainAfterALackOfMemory) {
  Policy policy("latency", 32, {});
  policy.ran_out_of_memory(map_size, 32);
  const auto fit = [&](int batches) {
    for (int i = 0; i < batches; ++i)
      policy.fitted(map_size, policy.most_rows(map_size));
  };
  fit(Policy::first_wait - 1);
  policy.fitted(map_size, 2);  // a small batch says nothing about a full one
  EXPECT_EQ(policy.most_rows(map_size), 16);
  fit(1);
  EXPECT_EQ(policy.most_rows(map_size), 32);
  policy.ran_out_of_memory(map_size, 32);  // too early: the next try comes after twice as many
  fit(2 * Policy::first_wait - 1);
  EXPECT_EQ(policy.most_rows(map_size), 16);
  fit(1);
  EXPECT_EQ(policy.most_rows(map_size), 32);
}

TEST(Policy, UnknownKind) {
  EXPECT_THROW(Policy("fast", 8, {}), RequestError);
}

}  // namespace
}  // namespace fgdm
