#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

#include "fgdm/job.hpp"
#include "home_process.hpp"
#include "read_map.hpp"
#include "texts.hpp"

namespace fgdm {

// What a Job and the engine share of a request. It is answered exactly once.
struct JobState {
  using Clock = std::chrono::steady_clock;

  Request request;     // resolved
  RequestTexts texts;  // of the request
  std::map<std::string, ReadMap> maps;
  StepCallback callback;
  MapCallback map_callback;
  SelectCallback select_callback;
  std::int64_t first_rows = 0;  // of the backbone batch that it begins with, if all find room
  Clock::time_point submitted = Clock::now();
  std::atomic<bool> cancelled{false};
  int overtaken = 0;  // the requests that came later and began earlier; the scheduler's
  HomeProcess home;
  std::thread::id worker;  // the engine's thread, which can't wait for what it has to do itself

  // Throws CancelledError or DeadlineError if there is nothing left to do.
  void check() const;

  void succeed(Result value) noexcept;
  void fail(std::exception_ptr failure) noexcept;

  mutable std::mutex mutex;
  mutable std::condition_variable changed;
  bool done = false;
  Result result;
  std::exception_ptr error;
  std::vector<std::function<void()>> when_done;

private:
  void finish() noexcept;
};

}  // namespace fgdm
