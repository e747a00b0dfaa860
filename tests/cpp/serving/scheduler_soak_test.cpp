// Thousands of requests of every kind at once.
#include <atomic>
#include <deque>
#include <fstream>
#include <random>
#include <utility>
#if __has_include(<malloc.h>)
#include <malloc.h>
#endif

#include "fgdm/error.hpp"
#include "scheduler_fixture.hpp"

namespace fgdm {
namespace {

using testing::fake_graphs;
using testing::scenes;
using testing::small_request;
using testing::submit;
using testing::wait_for;

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
      auto job = testing::new_job(std::move(request));
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
