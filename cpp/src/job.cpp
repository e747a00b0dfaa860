#include "job.hpp"

#include "fgdm/error.hpp"

namespace fgdm {

void JobState::check() const {
  if (cancelled)
    throw CancelledError("the request was cancelled");
  if (!request.deadline)
    return;
  const std::chrono::duration<double> age = Clock::now() - submitted;
  if (age.count() > *request.deadline)
    throw DeadlineError("the deadline of " + std::to_string(*request.deadline) +
                        " s passed; give it more time, ask for less, or submit when fewer requests "
                        "are waiting");
}

void JobState::succeed(Result value) {
  result = std::move(value);
  finish();
}

void JobState::fail(std::exception_ptr failure) {
  error = std::move(failure);
  finish();
}

void JobState::finish() {
  callback = {};  // it may hold the caller's objects; a finished job needs none of them
  std::vector<std::function<void()>> functions;
  {
    const std::scoped_lock lock(mutex);
    done = true;
    functions.swap(when_done);
    changed.notify_all();
  }
  for (const auto& function : functions)
    function();
}

void Job::cancel() const {
  state_->cancelled = true;
}

bool Job::done() const {
  const std::scoped_lock lock(state_->mutex);
  return state_->done;
}

bool Job::wait(std::optional<std::chrono::duration<double>> timeout) const {
  std::unique_lock lock(state_->mutex);
  const auto is_done = [this] { return state_->done; };
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
