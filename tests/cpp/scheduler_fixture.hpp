#pragma once

#include <gtest/gtest.h>

#include <memory>

#include "fake_sessions.hpp"
#include "request.hpp"
#include "scheduler.hpp"

// Requests to a scheduler over fake graphs, and what becomes of them.
namespace fgdm::testing {

inline Request small_request(std::uint64_t seed, int candidates = 3) {
  Request request;
  request.prompt = "two dogs beside a house";
  request.seed = seed;
  request.candidates = candidates;
  request.condition_steps = 4;
  request.num_inference_steps = 4;
  request.height = request.width = 64;
  request.stop_at_recall = 0.0;
  return request;
}

inline std::shared_ptr<JobState> submit(Scheduler& scheduler, Request request,
                                        StepCallback callback = {}) {
  auto job = std::make_shared<JobState>();
  job->request = resolve(std::move(request), scenes().manifest());
  job->texts = read_texts(job->request, scenes());
  job->callback = std::move(callback);
  scheduler.submit(job);
  return job;
}

// Waits for the answer; whether it is a result.
inline bool wait_for(const JobState& job) {
  std::unique_lock lock(job.mutex);
  EXPECT_TRUE(job.changed.wait_for(lock, std::chrono::seconds(120), [&] { return job.done; }))
      << "no answer";
  return job.done && !job.error;
}

template <typename E> void expect_failure(const JobState& job) {
  EXPECT_FALSE(wait_for(job));
  EXPECT_THROW(std::rethrow_exception(job.error), E);
}

inline Result alone(Request request) {
  auto graphs = fake_graphs(scenes().manifest());
  Scheduler scheduler(scenes(), graphs, {}, {});
  const auto job = submit(scheduler, std::move(request));
  EXPECT_TRUE(wait_for(*job));
  return job->result;
}

inline void expect_equal(const Result& result, const Result& expected) {
  EXPECT_EQ(result.chosen, expected.chosen);
  EXPECT_EQ(result.image.data, expected.image.data);
  EXPECT_EQ(result.map_rows, expected.map_rows);
  ASSERT_EQ(result.candidates.size(), expected.candidates.size());
  for (std::size_t i = 0; i < result.candidates.size(); ++i) {
    const auto &candidate = result.candidates[i], &other = expected.candidates[i];
    EXPECT_EQ(candidate.steps, other.steps);
    EXPECT_EQ(candidate.map.data, other.map.data);
    EXPECT_EQ(candidate.labels.data, other.labels.data);
  }
}

}  // namespace fgdm::testing
