// Many requests share batches: what each of them gets, in company, in a queue and at the end.
#include <atomic>
#include <fstream>
#include <nlohmann/json.hpp>
#include <utility>

#include "fgdm/error.hpp"
#include "scheduler_fixture.hpp"
#include "temp_folder.hpp"

namespace fgdm {
namespace {

using testing::expect_failure;
using testing::fake_graphs;
using testing::scenes;
using testing::small_request;
using testing::submit;
using testing::wait_for;
using namespace std::chrono_literals;

TEST(Scheduler, AResultDoesNotDependOnItsCompany) {
  std::vector<Request> requests;
  for (int i = 0; i < 12; ++i) {
    auto request = small_request(static_cast<std::uint64_t>(i), 1 + i % 5);
    request.condition_steps = 2 + i % 3;
    request.sampler = static_cast<SamplerKind>(i % 8);  // all of them, the stochastic ones too
    request.condition_sampler = static_cast<SamplerKind>((i + 3) % 8);
    request.guidance = i % 3 == 0 ? GuidanceKind::cfg : GuidanceKind::segfree;
    request.height = i % 4 == 0 ? 128 : 64;  // maps of one are as large as images of another
    request.guidance_interval = {0.0, i % 5 == 0 ? 0.5 : 1.0};
    requests.push_back(request);
  }
  testing::expect_company_changes_nothing(requests);
}

TEST(Scheduler, RowsOfManyRequestsShareBatches) {
  auto graphs = fake_graphs(scenes().manifest());
  Scheduler scheduler(scenes(), graphs, {}, {});
  std::vector<std::shared_ptr<JobState>> jobs;
  scheduler.perform([&] {  // nothing runs while this does: all of them begin together
    for (int i = 0; i < 5; ++i)
      jobs.push_back(submit(scheduler, small_request(static_cast<std::uint64_t>(i))));
  });
  for (const auto& job : jobs)
    ASSERT_TRUE(wait_for(*job));
  const auto metrics = scheduler.metrics();
  // 5 requests, 3 candidates, 4 steps, 2 rows; then 4 steps of one picture each.
  EXPECT_EQ(metrics.rows, 5 * (3 * 4 * 2 + 4 * 2));
  // All maps share four batches; pictures begin as their maps come from the decoder.
  EXPECT_GE(metrics.batches, 4 + 4);
  EXPECT_LT(metrics.batches, 4 + 5 * 4);
  EXPECT_EQ(metrics.finished, 5);
  EXPECT_EQ(metrics.context_misses, 3);  // "a map of …", the prompt, the empty one
  EXPECT_EQ(metrics.context_hits, 5 * 4 - 3);
}

TEST(Scheduler, ABurstDoesNotHoldUpWhoIsAtWork) {
  std::vector<std::string> calls;
  std::vector<std::int64_t> texts_together;
  auto graphs = fake_graphs(scenes().manifest(), [&](const std::string& graph, auto,
                                                     std::span<const NamedTensor> outputs) {
    if (graph == "backbone" || graph == "text_encoder")
      calls.push_back(graph);
    if (graph == "text_encoder")
      texts_together.push_back(outputs.front().tensor.shape.front());
  });
  Scheduler scheduler(scenes(), graphs, {}, {});
  std::vector<std::shared_ptr<JobState>> burst;
  const auto first = submit(scheduler, small_request(0), [&](const StepInfo&) {
    for (int i = static_cast<int>(burst.size()); i < 6; ++i) {
      auto request = small_request(1);
      request.prompt = "house number " + std::to_string(i);
      burst.push_back(submit(scheduler, request));
    }
    return false;
  });
  EXPECT_TRUE(wait_for(*first));
  for (const auto& job : burst)
    EXPECT_TRUE(wait_for(*job));
  // What a map and a picture are prompted with, and of the first request the empty text too.
  EXPECT_EQ(texts_together, (std::vector<std::int64_t>{3, 2, 2, 2, 2, 2, 2}));
  std::vector<int> texts_before_steps;
  int texts = 0;
  for (const auto& call : calls) {
    if (call == "text_encoder") {
      ++texts;
    } else {
      texts_before_steps.push_back(texts);
      texts = 0;
    }
  }
  ASSERT_GE(texts_before_steps.size(), 8U);
  for (std::size_t step = 1; step < 4; ++step)
    EXPECT_EQ(texts_before_steps[step], 1) << "one request joins before step " << step;
}

// Pictures of different requests are decoded together, a few at a time, and whoever is between two
// steps doesn't wait for all of them.
TEST(Scheduler, DecodersTakeTurnsWithSteps) {
  std::vector<std::pair<std::string, std::int64_t>> calls;
  auto graphs = fake_graphs(scenes().manifest(), [&](const std::string& graph, auto,
                                                     std::span<const NamedTensor> outputs) {
    if (graph == "backbone" || graph == "vae_decoder")
      calls.emplace_back(graph, outputs.front().tensor.shape.front());
  });
  EngineOptions options;
  options.policy = "throughput";
  Scheduler scheduler(scenes(), graphs, options, {});
  std::vector<std::shared_ptr<JobState>> jobs;
  std::vector<Request> requests;
  for (int i = 0; i < 8; ++i)
    requests.push_back(small_request(static_cast<std::uint64_t>(i), 1));
  scheduler.perform([&] {
    for (const auto& request : requests)
      jobs.push_back(submit(scheduler, request));
  });
  for (std::size_t i = 0; i < jobs.size(); ++i) {
    ASSERT_TRUE(wait_for(*jobs[i]));
    EXPECT_EQ(jobs[i]->result.image.data, testing::alone(requests[i]).image.data);
  }
  int decoded = 0;
  for (const auto& [graph, rows] : calls)
    if (graph == "vae_decoder") {
      EXPECT_EQ(rows, Policy::decoded_rows);
      decoded += static_cast<int>(rows);
    }
  EXPECT_EQ(decoded, 8 + 8) << "a map and a picture of each request";
}

// Of a request that waits for ten maps, others take steps between its calls of the decoder.
TEST(Scheduler, StepsComeBetweenDecodes) {
  std::vector<std::string> calls;
  auto graphs = fake_graphs(scenes().manifest(), [&](const std::string& graph, auto, auto) {
    if (graph == "backbone" || graph == "vae_decoder")
      calls.push_back(graph);
    if (graph == "vae_decoder")
      std::this_thread::sleep_for(20ms);
  });
  Scheduler scheduler(scenes(), graphs, {}, {});
  auto longer = small_request(2, 1);
  longer.condition_steps = 30;
  std::vector<std::shared_ptr<JobState>> jobs;
  scheduler.perform([&] {
    jobs.push_back(submit(scheduler, small_request(1, 10)));
    jobs.push_back(submit(scheduler, longer));
  });
  for (const auto& job : jobs)
    EXPECT_TRUE(wait_for(*job));
  const auto first = std::ranges::find(calls, "vae_decoder");
  int together = 0, most = 0;
  for (auto call = first; call != first + 6; ++call) {
    together = *call == "vae_decoder" ? together + 1 : 0;
    most = std::max(most, together);
  }
  EXPECT_LE(most, 2) << "three calls for ten maps";
}

TEST(Scheduler, AFullQueueRefusesAndSaysSo) {
  auto graphs = fake_graphs(scenes().manifest());
  EngineOptions options;
  options.max_queue = 2;
  Scheduler scheduler(scenes(), graphs, options, {});
  std::vector<std::shared_ptr<JobState>> jobs;
  scheduler.perform([&] {
    jobs.push_back(submit(scheduler, small_request(1)));
    jobs.push_back(submit(scheduler, small_request(2)));
    EXPECT_THROW(submit(scheduler, small_request(3)), QueueFullError);
  });
  for (const auto& job : jobs)
    EXPECT_TRUE(wait_for(*job));
  EXPECT_EQ(scheduler.metrics().refused, 1);
}

TEST(Scheduler, CancellationAndDeadlinesEndARequestBetweenSteps) {
  auto graphs = fake_graphs(scenes().manifest());
  EngineOptions options;
  options.max_active = 2;
  Scheduler scheduler(scenes(), graphs, options, {});
  auto late = small_request(1);
  late.deadline = 0.0;
  auto stopped = small_request(2);
  std::vector<std::shared_ptr<JobState>> jobs;
  scheduler.perform([&] {
    jobs.push_back(submit(scheduler, late));
    jobs.push_back(submit(scheduler, stopped, [](const StepInfo& info) { return info.step == 1; }));
    jobs.push_back(submit(scheduler, small_request(3)));
    jobs.push_back(submit(scheduler, small_request(4)));  // cancelled while it waits
    jobs.back()->cancelled = true;
  });
  expect_failure<DeadlineError>(*jobs[0]);
  expect_failure<CancelledError>(*jobs[1]);
  EXPECT_TRUE(wait_for(*jobs[2]));
  expect_failure<CancelledError>(*jobs[3]);
}

// Whoever hears of a request's end finds it counted, also if it never began.
TEST(Scheduler, ARequestIsCountedBeforeItIsAnswered) {
  auto graphs = fake_graphs(scenes().manifest());
  Scheduler scheduler(scenes(), graphs, {}, {});
  std::vector<std::int64_t> cancelled;
  std::shared_ptr<JobState> job;
  scheduler.perform([&] {
    job = submit(scheduler, small_request(1));
    job->cancelled = true;
    job->when_done.push_back([&] { cancelled.push_back(scheduler.metrics().cancelled); });
  });
  expect_failure<CancelledError>(*job);
  scheduler.perform([] {});  // after what the request's end has called
  EXPECT_EQ(cancelled, std::vector<std::int64_t>{1});
}

TEST(Scheduler, ADeadlinePassesWhileARequestIsActive) {
  auto graphs = fake_graphs(scenes().manifest());
  Scheduler scheduler(scenes(), graphs, {}, {});
  auto request = small_request(1);
  request.condition_steps = 100;
  request.deadline = 3;  // a slow machine has begun by then
  const auto late = std::chrono::steady_clock::now() + 3500ms;
  std::atomic<int> steps{0};
  const auto job = submit(scheduler, request, [&](const StepInfo&) {
    ++steps;
    std::this_thread::sleep_until(late);
    return false;
  });
  expect_failure<DeadlineError>(*job);
  EXPECT_EQ(steps, 1);
}

// The priorities of requests that were queued together, in the order in which they are answered,
// one at a time.
std::vector<int> as_answered(const std::vector<int>& priorities) {
  auto graphs = fake_graphs(scenes().manifest());
  EngineOptions options;
  options.max_active = 1;
  Scheduler scheduler(scenes(), graphs, options, {});
  std::vector<int> order;
  std::vector<std::shared_ptr<JobState>> jobs;
  scheduler.perform([&] {
    for (const int priority : priorities) {
      auto request = small_request(1, 1);
      request.priority = priority;
      jobs.push_back(submit(scheduler, request));
      jobs.back()->when_done.emplace_back([&order, priority] { order.push_back(priority); });
    }
  });
  for (const auto& job : jobs)
    EXPECT_TRUE(wait_for(*job));
  scheduler.perform([] {});  // the last one's word has been passed on
  return order;
}

TEST(Scheduler, AQueuedRequestIsNotOvertakenForEver) {
  std::vector<int> priorities(40, 5);
  priorities.front() = 0;
  const auto order = as_answered(priorities);
  ASSERT_EQ(order.size(), 40U);
  EXPECT_EQ(order[20], 0) << "twenty went ahead of it";
}

TEST(Scheduler, AHigherPriorityGoesFirst) {
  EXPECT_EQ(as_answered({0, 5, -5, 5}), (std::vector<int>{5, 5, 0, -5}));
}

TEST(Scheduler, DestructionAnswersEverybody) {
  std::vector<std::shared_ptr<JobState>> jobs;
  auto graphs = fake_graphs(scenes().manifest());
  {
    EngineOptions options;
    options.max_active = 2;
    Scheduler scheduler(scenes(), graphs, options, {});
    for (int i = 0; i < 10; ++i)
      jobs.push_back(submit(scheduler, small_request(static_cast<std::uint64_t>(i), 20)));
  }
  for (const auto& job : jobs)
    EXPECT_TRUE(job->done);
}

TEST(Scheduler, TheTraceIsJsonWithSessionsBatchesAndRequests) {
  const testing::TempFolder folder;
  const auto file = folder / "trace.json";
  {
    auto graphs = fake_graphs(scenes().manifest(), {}, file);
    Scheduler scheduler(scenes(), graphs, {}, {});
    EXPECT_TRUE(wait_for(*submit(scheduler, small_request(1))));
  }
  std::ifstream stream(file);
  const auto events = nlohmann::json::parse(stream);
  std::map<std::string, int> tracks;
  for (const auto& event : events)
    ++tracks[event.value("tid", "")];
  EXPECT_EQ(tracks["batches"], 8);
  EXPECT_GT(tracks["sessions"], 8 * 2);
  EXPECT_EQ(tracks["requests"], 2);
}

}  // namespace
}  // namespace fgdm
