// The caller chooses among the finished maps, over fake graphs.
#include <gtest/gtest.h>

#include <limits>
#include <stdexcept>

#include "fgdm/error.hpp"
#include "runtime_fixture.hpp"
#include "scheduler_fixture.hpp"

namespace fgdm {
namespace {

using testing::expect_words;
using testing::fake_graphs;
using testing::numbers_of;
using testing::scenes;
using testing::small_request;

Request asking() {
  auto request = small_request(3);
  request.select = SelectBy::callback;
  request.stop_at_recall.reset();
  return request;
}

// What becomes of a request whose maps `choose` chooses among; `hook` may spoil what graphs
// compute.
std::shared_ptr<JobState>
chosen_by(SelectCallback choose, Request request = asking(),
          const std::function<void(const std::string&, std::span<const NamedTensor>,
                                   std::span<const NamedTensor>)>& hook = {}) {
  auto graphs = fake_graphs(scenes().manifest(), hook);
  Scheduler scheduler(scenes(), graphs, {}, {});
  auto job = testing::new_job(std::move(request));
  job->select_callback = std::move(choose);
  scheduler.submit(job);
  testing::wait_for(*job);
  return job;
}

template <typename E> std::string told(SelectCallback choose) {
  const auto job = chosen_by(std::move(choose));
  return testing::refusal<E>([&] {
    if (job->error)
      std::rethrow_exception(job->error);
  });
}

TEST(SelectCallback, SeesEveryFinishedMapAndItsChoiceIsPainted) {
  std::vector<std::vector<std::uint8_t>> pictures;
  for (std::size_t wanted = 0; wanted < 3; ++wanted) {
    int calls = 0;
    std::vector<int> steps;
    const auto job = chosen_by([&](const Choice& choice) {
      ++calls;
      EXPECT_EQ(choice.factor, "segmentation");
      EXPECT_EQ(choice.seed, 3U);
      EXPECT_EQ(choice.candidates.size(), 3U);
      for (const auto* candidate : choice.candidates) {
        EXPECT_EQ(candidate->map.data.size(), 32U * 32 * 3);
        steps.push_back(candidate->steps);
      }
      return wanted;
    });
    ASSERT_FALSE(job->error);
    EXPECT_EQ(calls, 1);
    EXPECT_EQ(steps, (std::vector{4, 4, 4}));
    EXPECT_EQ(job->result.chosen, static_cast<int>(wanted));
    pictures.push_back(job->result.image.data);
  }
  EXPECT_NE(pictures[0], pictures[1]);
  EXPECT_NE(pictures[1], pictures[2]);
}

TEST(SelectCallback, IsNotShownAMapThatFailed) {
  int calls = 0;
  const auto spoil = [&](const std::string& graph, auto, std::span<const NamedTensor> outputs) {
    if (graph == "backbone" && ++calls == 1)  // the first candidate's row of the first step
      static_cast<float*>(numbers_of(outputs.front().tensor))[0] =
          std::numeric_limits<float>::quiet_NaN();
  };
  std::vector<int> shown;
  const auto job = chosen_by(
      [&](const Choice& choice) {
        for (const auto* candidate : choice.candidates)
          shown.push_back(candidate->index);
        return std::size_t{0};
      },
      asking(), spoil);
  ASSERT_FALSE(job->error);
  EXPECT_EQ(shown, (std::vector{1, 2}));
  EXPECT_EQ(job->result.candidates.at(static_cast<std::size_t>(job->result.chosen)).index, 1);
}

TEST(SelectCallback, ThatChoosesNoneStopsItsRequest) {
  expect_words(told<CancelledError>([](const Choice&) { return std::nullopt; }),
               {"select callback", "segmentation"});
}

TEST(SelectCallback, ThatChoosesAnotherPlaceIsTold) {
  expect_words(told<RequestError>([](const Choice&) { return std::size_t{3}; }),
               {"chose 3 of the 3 maps", "from 0"});
}

TEST(SelectCallback, WhatItThrowsIsTheResult) {
  const auto words = told<std::domain_error>(
      [](const Choice&) -> std::optional<std::size_t> { throw std::domain_error("mine"); });
  EXPECT_EQ(words, "mine");
}

TEST(SelectCallback, IsGoneWithItsRequest) {
  const auto held = std::make_shared<int>();
  const auto job = chosen_by([held](const Choice&) { return std::size_t{0}; });
  EXPECT_EQ(held.use_count(), 1);
}

TEST(SelectCallback, LeavesNothingToStopAt) {
  auto request = asking();
  request.stop_at_recall = 1.0;
  expect_words(testing::refusal<RequestError>([&] { resolve(request, scenes().manifest()); }),
               {"stop_at_recall is given", "a callback chooses among all maps"});
}

}  // namespace
}  // namespace fgdm
