#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <future>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "context_cache.hpp"
#include "fgdm/bundle.hpp"
#include "job.hpp"
#include "policy.hpp"
#include "step_batch.hpp"
#include "task.hpp"

namespace fgdm {

// Works on many requests at once, in one thread: between backbone batches requests enter and leave,
// and each batch holds whatever rows the policy picks. submit(), perform() and metrics() may be
// called from any thread; everything else happens on its own.
class Scheduler {
public:
  Scheduler(const Bundle& bundle, Graphs& graphs, const EngineOptions& options,
            std::vector<BatchTimes> profile);

  // Cancels what is queued or active, answers it, and waits for the thread, which must not be the
  // one that destroys it.
  ~Scheduler();
  Scheduler(const Scheduler&) = delete;
  Scheduler& operator=(const Scheduler&) = delete;

  // Queues a resolved request. Throws QueueFullError.
  void submit(std::shared_ptr<JobState> job);

  // Runs a function on the scheduler's thread between two batches, and waits for it. It may use the
  // graphs, and throw.
  void perform(const std::function<void()>& function);

  Metrics metrics() const;

  // Whether the caller is the scheduler's thread, as callbacks are.
  bool is_own_thread() const { return std::this_thread::get_id() == thread_.get_id(); }

private:
  using Batch = std::vector<std::pair<Task*, Trajectory*>>;

  void serve();
  bool next_round();
  void admit();
  void begin(const std::shared_ptr<JobState>& job);
  void take_step();
  void run_batch(const Batch& batch);
  StepBatch& step_batch(Resolution resolution);
  void go_on(const Batch& batch);
  void end(Task& task, std::exception_ptr error);
  void answer(const std::exception_ptr& error, double queued);
  void sweep();
  void publish();

  const Bundle& bundle_;
  Graphs& graphs_;
  int max_batch_rows_;
  std::size_t max_queue_, max_active_;

  // Only the thread touches these.
  Policy policy_;
  ContextCache contexts_;
  std::list<std::pair<Resolution, StepBatch>> batches_;  // the most recently used first
  std::vector<std::unique_ptr<Task>> tasks_;             // in the order they came
  std::map<const Trajectory*, int> passed_over_;
  std::int64_t next_number_ = 0;
  Metrics counted_{};

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::shared_ptr<JobState>> queue_;
  std::deque<std::packaged_task<void()>> functions_;
  Metrics metrics_{};
  bool stopping_ = false;
  std::thread thread_;  // last: it uses everything above
};

}  // namespace fgdm
