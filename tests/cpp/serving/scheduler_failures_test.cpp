// Numbers that aren't finite and a lack of memory: who fails, and who goes on.
#include <utility>

#include "embedding_cache.hpp"
#include "fgdm/error.hpp"
#include "fgdm/log.hpp"
#include "scheduler_fixture.hpp"

namespace fgdm {
namespace {

using testing::alone;
using testing::expect_failure;
using testing::fake_graphs;
using testing::scenes;
using testing::small_request;
using testing::submit;
using testing::wait_for;

// The rows of small_request(): latents so large that they overflow in the first step.
std::vector<float> overflowing(std::size_t rows) {
  return std::vector<float>(rows * 4 * 8 * 8, 1e38F);
}

TEST(Scheduler, MapsThatAreNotFiniteFailTheirRequestAndNoOther) {
  auto graphs = fake_graphs(scenes().manifest());
  Scheduler scheduler(scenes(), graphs, {}, {});
  auto bad = small_request(1);
  bad.condition_latents = overflowing(3);
  std::vector<std::shared_ptr<JobState>> jobs;
  scheduler.perform([&] {
    jobs.push_back(submit(scheduler, small_request(2)));
    jobs.push_back(submit(scheduler, bad));
    jobs.push_back(submit(scheduler, small_request(3)));
  });
  expect_failure<BackendError>(*jobs[1]);
  EXPECT_TRUE(wait_for(*jobs[0]));
  EXPECT_TRUE(wait_for(*jobs[2]));
}

TEST(Scheduler, AMapThatIsNotFiniteFailsAloneAndIsNeverChosen) {
  auto graphs = fake_graphs(scenes().manifest());
  Scheduler scheduler(scenes(), graphs, {}, {});
  for (const bool asked : {true, false}) {  // where nothing is, an empty map would hold everything
    auto request = small_request(1, 4);
    if (!asked)
      request.objects = std::vector<std::string>{};
    request.prune = {1, 2};
    request.condition_latents = overflowing(2);
    request.condition_latents.resize(4 * request.condition_latents.size() / 2, 0.5F);
    const auto job = submit(scheduler, request);
    ASSERT_TRUE(wait_for(*job));
    const auto& candidates = job->result.candidates;
    ASSERT_EQ(candidates.size(), 4U);
    for (const auto& candidate : candidates) {
      EXPECT_EQ(candidate.failed, candidate.index < 2);
      EXPECT_EQ(candidate.labels.data.size(), candidates[2].labels.data.size());
      EXPECT_EQ(candidate.map.data.size(), candidates[2].map.data.size());
    }
    EXPECT_EQ(candidates[0].steps, 1);
    EXPECT_GE(job->result.chosen, 2);
  }
  EXPECT_EQ(scheduler.metrics().candidates_failed, 2 * 2);
}

// A decoder that spoils the pictures of some of three maps, when they are previewed or finished.
TEST(Scheduler, AMapWhosePictureIsNotFiniteFailsAloneAndIsNeverChosen) {
  for (const int spoiled : {1, 3})
    for (const bool preview : {true, false}) {
      bool first_call = true;
      auto graphs = fake_graphs(scenes().manifest(), [&](const std::string& graph, auto,
                                                         std::span<const NamedTensor> outputs) {
        if (graph != "vae_decoder" || !std::exchange(first_call, false))
          return;
        const auto& pictures = outputs.front().tensor;
        for (std::size_t row = 0; row < static_cast<std::size_t>(spoiled); ++row)
          static_cast<float*>(pictures.data)[row * pictures.elements() / 3 + 7] = NAN;
      });
      Scheduler scheduler(scenes(), graphs, {}, {});
      auto request = small_request(1);
      request.objects = std::vector<std::string>{};  // an empty map would hold everything
      if (preview)
        request.prune = {2};
      const auto job = submit(scheduler, request);
      EXPECT_EQ(wait_for(*job), spoiled == 1);
      EXPECT_EQ(scheduler.metrics().candidates_failed, spoiled);
      if (spoiled == 3) {
        expect_failure<BackendError>(*job);
        continue;
      }
      const auto& candidates = job->result.candidates;
      ASSERT_EQ(candidates.size(), 3U);
      for (const auto& candidate : candidates)
        EXPECT_EQ(candidate.failed, candidate.index == 0);
      EXPECT_EQ(candidates[0].steps, preview ? 2 : 4);
      EXPECT_NE(job->result.chosen, 0);
    }
}

TEST(Scheduler, AWaveOfMapsThatAreNotFiniteGivesWayToTheNext) {
  auto graphs = fake_graphs(scenes().manifest());
  Scheduler scheduler(scenes(), graphs, {}, {});
  auto request = small_request(1, 4);
  request.stop_at_recall = 1.0;
  request.wave = 2;
  request.condition_latents = overflowing(2);
  request.condition_latents.resize(4 * request.condition_latents.size() / 2, 0.5F);
  const auto job = submit(scheduler, request);
  ASSERT_TRUE(wait_for(*job));
  EXPECT_GE(job->result.chosen, 2);
}

TEST(Scheduler, AnImageThatIsNotFiniteFailsItsRequest) {
  auto graphs = fake_graphs(scenes().manifest());
  Scheduler scheduler(scenes(), graphs, {}, {});
  auto bad = small_request(1);
  bad.latents.assign(4 * 16 * 16, 1e38F);
  expect_failure<BackendError>(*submit(scheduler, bad));
}

TEST(Scheduler, APromptThatTheTextEncoderSpoiledIsNotKept) {
  std::atomic<bool> spoils{true};
  auto graphs = fake_graphs(scenes().manifest(), [&](const std::string& graph, auto,
                                                     std::span<const NamedTensor> outputs) {
    if (spoils && graph == scenes().manifest().text_encoder)
      static_cast<float*>(outputs.front().tensor.data)[7] = NAN;
  });
  Scheduler scheduler(scenes(), graphs, {}, {});
  expect_failure<BackendError>(*submit(scheduler, small_request(1)));
  spoils = false;
  EXPECT_TRUE(wait_for(*submit(scheduler, small_request(1))));
}

TEST(Scheduler, APictureThatIsNotFiniteIsAnErrorAndNotBlack) {
  auto graphs = fake_graphs(scenes().manifest(), [](const std::string& graph, auto,
                                                    std::span<const NamedTensor> outputs) {
    const auto& pictures = outputs.front().tensor;
    if (graph == scenes().manifest().vae_decoder && pictures.shape.back() == 64)
      static_cast<float*>(pictures.data)[0] = NAN;
  });
  Scheduler scheduler(scenes(), graphs, {}, {});
  expect_failure<BackendError>(*submit(scheduler, small_request(1)));
}

TEST(Scheduler, AnEncodedPromptIsForgottenWhenOthersWereUsedLater) {
  auto graphs = fake_graphs(scenes().manifest());
  Loras loras(scenes(), graphs);
  EmbeddingCache embeddings(scenes(), graphs, loras, 2);
  Timings timings;
  for (const auto* prompt : {"a dog", "a house", "a dog", "the sun", "a dog", "a house"}) {
    const EncodedText text{prompt, scenes().tokenizer().encode(prompt)};
    embeddings.get({{&text, &timings}});
  }
  EXPECT_EQ(embeddings.hits(), 2);  // a dog, twice; the house made room for the sun
  EXPECT_EQ(embeddings.misses(), 4);
}

// Graphs of which one has memory for `most` rows; `largest` is kept at the most that it ran.
Graphs short_of_memory(const std::string& where, std::int64_t most, std::int64_t& largest) {
  return fake_graphs(scenes().manifest(), [=, &largest](const std::string& graph, auto,
                                                        std::span<const NamedTensor> outputs) {
    if (graph != where)
      return;
    const auto rows = outputs.front().tensor.shape.front();
    if (rows > most)
      throw OutOfMemoryError("no memory for so many rows");
    largest = std::max(largest, rows);
  });
}

TEST(Scheduler, ALackOfMemoryIsMetWithSmallerBatches) {
  std::int64_t largest = 0;
  auto graphs = short_of_memory(scenes().manifest().backbone, 6, largest);
  Scheduler scheduler(scenes(), graphs, {}, {});
  const auto job = submit(scheduler, small_request(1, 10));
  ASSERT_TRUE(wait_for(*job));
  EXPECT_EQ(job->result.candidates.size(), 10U);
  EXPECT_LE(largest, 6);
  EXPECT_GE(largest, 4);
  EXPECT_LE(scheduler.metrics().retries, 3) << "the smaller size is remembered";
  EXPECT_EQ(job->result.image.data, alone(small_request(1, 10)).image.data);
}

TEST(Scheduler, MapsAreDecodedAFewAtATimeWhereMemoryIsShort) {
  std::int64_t largest = 0;
  auto graphs = short_of_memory(scenes().manifest().vae_decoder, 3, largest);
  Scheduler scheduler(scenes(), graphs, {}, {});
  const auto job = submit(scheduler, small_request(1, 10));
  ASSERT_TRUE(wait_for(*job));
  EXPECT_EQ(job->result.candidates.size(), 10U);
  EXPECT_EQ(largest, 2);
  EXPECT_EQ(job->result.image.data, alone(small_request(1, 10)).image.data);
}

TEST(Scheduler, WhatFitsInNoBatchFails) {
  auto graphs = fake_graphs(scenes().manifest(), [](const std::string& graph, auto, auto) {
    if (graph == scenes().manifest().backbone)
      throw OutOfMemoryError("no memory at all");
  });
  Scheduler scheduler(scenes(), graphs, {}, {});
  expect_failure<OutOfMemoryError>(*submit(scheduler, small_request(1)));
}

TEST(Scheduler, WhatMemoryIsGivenBackForIsTriedAgain) {
  int failures = 2;  // of the image's first step, also once the device has given memory back
  auto graphs = fake_graphs(scenes().manifest(), [&](const std::string& graph, auto,
                                                     std::span<const NamedTensor> outputs) {
    const auto& made = outputs.front().tensor;
    if (graph == scenes().manifest().backbone && made.shape.back() == 16 && failures-- > 0)
      throw OutOfMemoryError("no memory yet");
  });
  std::vector<std::string> told;
  set_logger([&](LogLevel, std::string_view message) { told.emplace_back(message); });
  Scheduler scheduler(scenes(), graphs, {}, {});
  const auto job = submit(scheduler, small_request(1));
  ASSERT_TRUE(wait_for(*job));
  set_logger({});
  EXPECT_EQ(job->result.image.data, alone(small_request(1)).image.data);
  const auto before = scheduler.metrics();
  EXPECT_EQ(before.retries, 1);
  ASSERT_EQ(told.size(), 1U);
  EXPECT_NE(told[0].find("is run again: no memory yet"), std::string::npos) << told[0];
  std::vector<std::shared_ptr<JobState>> jobs;
  scheduler.perform([&] {
    for (int i = 0; i < 2; ++i)
      jobs.push_back(submit(scheduler, small_request(1, 2)));  // all maps are decoded together
  });
  for (const auto& other : jobs)
    ASSERT_TRUE(wait_for(*other));
  EXPECT_EQ(scheduler.metrics().batches - before.batches, 4 + 4) << "batches are not smaller now";
}

}  // namespace
}  // namespace fgdm
