#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <utility>

#include "fgdm/api.h"
#include "fgdm/result.hpp"

namespace fgdm {

struct FGDM_API JobState;

// A submitted request: a future that can be cancelled. Copies speak of the same request.
class FGDM_API Job {
public:
  // Asks the engine to stop; takes effect at the next step. Does nothing to a finished job.
  void cancel() const;
  bool done() const;

  // Blocks until the job is done, at most `timeout`; false if it isn't done by then. Throws
  // RequestError in a callback of the same engine, unless the timeout is zero.
  bool wait(std::optional<std::chrono::duration<double>> timeout = std::nullopt) const;

  // Blocks until the job is done. Throws what the request failed with.
  const Result& result() const;

  // Calls `function` once the job is done: on the engine's thread, or at once if it is.
  // It must not throw; what it throws is dropped.
  void when_done(std::function<void()> function) const;

private:
  friend class Engine;
  explicit Job(std::shared_ptr<JobState> state) : state_(std::move(state)) {}
  std::shared_ptr<JobState> state_;
};

}  // namespace fgdm
