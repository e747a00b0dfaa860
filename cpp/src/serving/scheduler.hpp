#pragma once

#include <atomic>
#include <condition_variable>
#include <deque>
#include <functional>
#include <future>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "embedding_cache.hpp"
#include "fgdm/bundle.hpp"
#include "job.hpp"
#include "loras.hpp"
#include "policy.hpp"
#include "step_batch.hpp"
#include "task.hpp"

namespace fgdm {

// Works on many requests at once, in one thread: between batches requests enter and leave, and each
// batch, of a backbone or of a decoder, holds whatever rows the policy picks. submit(), perform()
// and metrics() may be called from any thread; everything else happens on its own.
class Scheduler {
public:
  Scheduler(const Bundle& bundle, Graphs& graphs, const EngineOptions& options,
            std::vector<BatchTimes> batch_times);

  // Stops. Must not run on the scheduler's own thread.
  ~Scheduler();
  Scheduler(const Scheduler&) = delete;
  Scheduler& operator=(const Scheduler&) = delete;

  // Queues a resolved request. Throws QueueFullError, and RequestError once it stops.
  void submit(std::shared_ptr<JobState> job);

  // Runs a function on the scheduler's thread between two batches, and waits for it, calling `wait`
  // (which doesn't throw) ten times a second. It may use the graphs, and throw. Throws RequestError
  // on that thread and once it stops, CancelledError if it stops before the function's turn.
  void perform(const std::function<void()>& function, const std::function<void()>& wait = [] {});

  // Cancels what is queued or active, answers it, and waits for the thread, unless that is the
  // caller's. May be called again.
  void stop();

  // For a function that takes long: throws CancelledError once the scheduler stops.
  void check_stopping() const;

  Metrics metrics() const;

  // Whether the caller is the scheduler's thread, as callbacks are.
  bool is_own_thread() const { return std::this_thread::get_id() == worker_; }

private:
  // A step that a trajectory can take, or latents that wait for a decoder: the other is nullptr.
  struct Work {
    Task* task;
    Trajectory* trajectory;
    Decode* decode;

    const FactorRun& run() const { return trajectory != nullptr ? *trajectory->run : *decode->run; }
    int rows() const { return trajectory != nullptr ? trajectory->rows() : 1; }
    int step() const { return trajectory != nullptr ? trajectory->step : 0; }
    int& passed_over() const {
      return trajectory != nullptr ? trajectory->passed_over : decode->passed_over;
    }
  };
  using Batch = std::vector<Work>;

  void serve();
  bool next_round();
  void fail_all(const std::exception_ptr& error);
  void check_open() const;
  void admit();
  void begin(const std::shared_ptr<JobState>& job);
  void work();
  void run_batch(const Batch& batch);
  StepBatch& step_batch(Resolution resolution);
  void take_steps(const Batch& batch, const Resolution& resolution);
  RowBuffer decode_rows(const Batch& batch, Timings& timings);
  void go_on(const Batch& batch, const RowBuffer& pictures, double seconds);
  static Resolution resolution_of(const Work& work);
  void end(Task& task, std::exception_ptr error) noexcept;
  void book(Task& task, const std::exception_ptr& error);
  void count_ended(const std::exception_ptr& error, double queued) noexcept;
  void sweep();
  void publish();

  const Bundle& bundle_;
  Graphs& graphs_;
  std::size_t max_queue_, max_active_, kept_resolutions_;
  std::vector<std::string> backbones_;  // graphs

  // Only the thread touches these.
  Policy policy_;
  Loras loras_;
  EmbeddingCache embeddings_;
  std::list<std::pair<Resolution, StepBatch>> batches_;  // the most recently used first
  std::vector<std::unique_ptr<Task>> tasks_;             // in the order they came
  std::int64_t next_number_ = 0;
  Metrics counted_{};

  std::atomic<std::int64_t> waiting_rows_{0};  // of active requests
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::shared_ptr<JobState>> queue_;
  std::deque<std::packaged_task<void()>> functions_;
  Metrics metrics_{};
  bool stopping_ = false;
  std::mutex joining_;
  std::thread thread_;      // it uses everything above
  std::thread::id worker_;  // the thread's; stays when it has ended
};

}  // namespace fgdm
