#include "job.hpp"

#include "device_inputs.hpp"
#include "fgdm/error.hpp"
#include "wording.hpp"

namespace fgdm {

void JobState::check() const {
  if (cancelled)
    throw CancelledError("the request was cancelled");
  if (!request.deadline)
    return;
  const std::chrono::duration<double> age = Clock::now() - submitted;
  if (age.count() > *request.deadline)
    throw DeadlineError("the deadline of " + shown(*request.deadline) +
                        " s passed; give it more time, ask for less, or submit when fewer requests "
                        "are waiting");
}

void JobState::succeed(Result value) noexcept {
  result = std::move(value);
  finish();
}

void JobState::fail(std::exception_ptr failure) noexcept {
  error = std::move(failure);
  finish();
}

void JobState::finish() noexcept {
  callback = {};  // they may hold the caller's objects; a finished job needs none of them
  map_callback = {};
  select_callback = {};
  release_arrays(request);
  std::vector<std::function<void()>> functions;
  {
    const std::scoped_lock lock(mutex);
    done = true;
    functions.swap(when_done);
    changed.notify_all();
  }
  for (const auto& function : functions) {
    try {
      function();
    } catch (...) {  // who gave it was told that it must not throw; others have to be answered
    }
  }
}

void Job::cancel() const {
  state_->home.check("this job");
  state_->cancelled = true;
}

bool Job::done() const {
  state_->home.check("this job");
  const std::scoped_lock lock(state_->mutex);
  return state_->done;
}

bool Job::wait(std::optional<std::chrono::duration<double>> timeout) const {
  state_->home.check("this job");
  std::unique_lock lock(state_->mutex);
  const auto is_done = [this] { return state_->done; };
  const bool looks_only = timeout && timeout->count() <= 0;
  if (!is_done() && !looks_only && std::this_thread::get_id() == state_->worker)
    throw RequestError("a callback of an engine can't wait for a job of the same engine, which "
                       "would wait for the callback; submit the request there and wait elsewhere");
  if (timeout)
    return state_->changed.wait_for(lock, *timeout, is_done);
  state_->changed.wait(lock, is_done);
  return true;
}

const Result& Job::result() const {
  wait();
  if (state_->error)
    std::rethrow_exception(state_->error);
  return state_->result;
}

void Job::when_done(std::function<void()> function) const {
  state_->home.check("this job");
  {
    const std::scoped_lock lock(state_->mutex);
    if (!state_->done) {
      state_->when_done.push_back(std::move(function));
      return;
    }
  }
  function();
}

}  // namespace fgdm
