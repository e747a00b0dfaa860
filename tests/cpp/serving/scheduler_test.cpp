// Many requests share batches: what each of them gets, in company, in need and in failure.
#include <atomic>
#include <deque>
#include <fstream>
#include <nlohmann/json.hpp>
#include <random>
#include <utility>
#if __has_include(<malloc.h>)
#include <malloc.h>
#endif

#include "context_cache.hpp"
#include "fgdm/error.hpp"
#include "scheduler_fixture.hpp"

namespace fgdm {
namespace {

using testing::alone;
using testing::expect_equal;
using testing::expect_failure;
using testing::fake_graphs;
using testing::scenes;
using testing::small_request;
using testing::submit;
using testing::wait_for;
using namespace std::chrono_literals;

TEST(Scheduler, AResultDoesNotDependOnItsCompany) {
  auto graphs = fake_graphs(scenes().manifest());
  EngineOptions options;
  options.max_batch_rows = 7;  // nothing fits evenly
  Scheduler scheduler(scenes(), graphs, options, {});
  std::vector<Request> requests;
  for (int i = 0; i < 12; ++i) {
    auto request = small_request(static_cast<std::uint64_t>(i), 1 + i % 5);
    request.condition_steps = 2 + i % 3;
    request.sampler = i % 2 == 0 ? SamplerKind::ddim : SamplerKind::dpmsolver_multistep;
    request.guidance = i % 3 == 0 ? GuidanceKind::cfg : GuidanceKind::segfree;
    request.height = i % 4 == 0 ? 128 : 64;  // maps of one are as large as images of another
    request.guidance_interval = {0.0, i % 5 == 0 ? 0.5 : 1.0};
    requests.push_back(request);
  }
  std::vector<std::shared_ptr<JobState>> jobs;
  for (const auto& request : requests)
    jobs.push_back(submit(scheduler, request));
  for (std::size_t i = 0; i < jobs.size(); ++i) {
    ASSERT_TRUE(wait_for(*jobs[i]));
    SCOPED_TRACE(i);
    expect_equal(jobs[i]->result, alone(requests[i]));
  }
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
  EXPECT_EQ(metrics.batches, 4 + 4);
  EXPECT_EQ(metrics.finished, 5);
  EXPECT_EQ(metrics.context_misses, 3);  // "a map of …", the prompt, the empty one
  EXPECT_EQ(metrics.context_hits, 5 * 4 - 3);
}

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
  ContextCache contexts(scenes(), graphs, 2);
  Timings timings;
  for (const auto* prompt : {"a dog", "a house", "a dog", "the sun", "a dog", "a house"})
    contexts.get({prompt, scenes().tokenizer().encode(prompt)}, timings);
  EXPECT_EQ(contexts.hits(), 2);  // a dog, twice; the house made room for the sun
  EXPECT_EQ(contexts.misses(), 4);
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
  Scheduler scheduler(scenes(), graphs, {}, {});
  const auto job = submit(scheduler, small_request(1));
  ASSERT_TRUE(wait_for(*job));
  EXPECT_EQ(job->result.image.data, alone(small_request(1)).image.data);
  const auto before = scheduler.metrics();
  EXPECT_EQ(before.retries, 1);
  std::vector<std::shared_ptr<JobState>> jobs;
  scheduler.perform([&] {
    for (int i = 0; i < 2; ++i)
      jobs.push_back(submit(scheduler, small_request(1)));
  });
  for (const auto& other : jobs)
    ASSERT_TRUE(wait_for(*other));
  EXPECT_EQ(scheduler.metrics().batches - before.batches, 4 + 4) << "batches are not smaller now";
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
  request.deadline = 0.1;
  std::atomic<int> steps{0};
  const auto job = submit(scheduler, request, [&](const StepInfo&) {
    ++steps;
    std::this_thread::sleep_for(20ms);
    return false;
  });
  expect_failure<DeadlineError>(*job);
  EXPECT_GE(steps, 1);
  EXPECT_LE(steps, 5);
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
  const auto file = std::filesystem::temp_directory_path() / "fgdm-scheduler-test-trace.json";
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
  std::filesystem::remove(file);
}

// Megabytes of memory in use by this process, without what its allocator keeps for later.
double resident_megabytes() {
#ifdef __GLIBC__
  malloc_trim(0);
#endif
  std::ifstream statm("/proc/self/statm");
  double pages = 0, resident = 0;
  statm >> pages >> resident;
  return resident * 4096 / 1e6;
}

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr double growth_allowed = 1000;  // sanitizers keep what was freed for a while
#else
constexpr double growth_allowed = 20;
#endif

// Requests of every kind, with failures in the graphs: each accepted one is answered exactly once,
// and what they needed is given back.
TEST(Scheduler, ManyRequests) {
  std::mt19937 random(7);
  const auto chance = [&](int one_in) { return random() % static_cast<unsigned>(one_in) == 0; };
  std::mt19937 faults(8);  // used on the scheduler's thread only
  auto graphs = fake_graphs(scenes().manifest(),
                            [&](const std::string&, auto, std::span<const NamedTensor> outputs) {
                              if (faults() % 400 == 0)
                                throw BackendError("injected");
                              if (faults() % 400 == 0)
                                throw OutOfMemoryError("injected");
                              if (faults() % 400 == 0)
                                static_cast<float*>(outputs.front().tensor.data)[0] = NAN;
                            });
  std::atomic<int> answers{0};
  int accepted = 0, refused = 0;
  double memory_early = 0;
  std::deque<std::shared_ptr<JobState>> jobs;
  {
    EngineOptions options;
    options.max_queue = 64;
    options.max_batch_rows = 12;
    options.policy = "throughput";
    Scheduler scheduler(scenes(), graphs, options, {});
    for (int i = 0; i < FGDM_SOAK_REQUESTS; ++i) {
      auto request = small_request(static_cast<std::uint64_t>(i), 1 + i % 3);
      request.condition_steps = 1 + i % 3;
      request.num_inference_steps = 1 + i % 2;
      request.height = chance(8) ? 96 : 64;
      request.priority = i % 5;
      if (chance(20))
        request.deadline = 0.001 * (i % 50);
      if (chance(10)) {
        request.stop_at_recall = 0.5;
        request.wave = 1;
      }
      if (request.condition_steps > 1 && chance(5))
        request.prune = {1};
      auto job = std::make_shared<JobState>();
      job->request = resolve(std::move(request), scenes().manifest());
      job->texts = read_texts(job->request, scenes());
      job->when_done.emplace_back([&] { ++answers; });
      try {
        scheduler.submit(job);
        ++accepted;
      } catch (const QueueFullError&) {
        ++refused;
        if (!jobs.empty())
          wait_for(*jobs.back());  // what the caller of a full queue does
        continue;
      }
      if (chance(15))
        job->cancelled = true;
      jobs.push_back(job);
      if (jobs.size() > 100) {  // results are held by those who wait for them
        wait_for(*jobs.front());
        jobs.pop_front();
      }
      if (i == FGDM_SOAK_REQUESTS / 4)
        memory_early = resident_megabytes();
    }
    for (const auto& job : jobs)
      wait_for(*job);
    const auto metrics = scheduler.metrics();
    EXPECT_EQ(metrics.accepted, accepted);
    EXPECT_EQ(metrics.refused, refused);
    EXPECT_EQ(metrics.finished + metrics.failed + metrics.cancelled, accepted);
    EXPECT_GT(metrics.finished, accepted / 4);
    EXPECT_GT(metrics.failed, 0);
    EXPECT_GT(metrics.cancelled, 0);
    EXPECT_EQ(metrics.active, 0);
  }
  EXPECT_LT(resident_megabytes(), memory_early + growth_allowed);
  EXPECT_EQ(answers, accepted);
}

}  // namespace
}  // namespace fgdm
