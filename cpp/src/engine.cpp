#include "fgdm/engine.hpp"

#include <atomic>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <thread>

#include "fgdm/bundle.hpp"
#include "fgdm/error.hpp"
#include "fgdm/objects.hpp"
#include "graphs.hpp"
#include "pipeline.hpp"
#include "request.hpp"

namespace fgdm {

struct Job::State {
  Request request;
  StepCallback callback;
  std::atomic<bool> cancelled{false};

  std::mutex mutex;
  std::condition_variable changed;
  bool done = false;
  Result result;
  std::exception_ptr error;

  void finish(std::exception_ptr failure) {
    callback = {};  // it may hold the caller's objects; a finished job needs none of them
    const std::scoped_lock lock(mutex);
    error = std::move(failure);
    done = true;
    changed.notify_all();
  }
};

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

struct Engine::Implementation {
  explicit Implementation(const std::filesystem::path& folder, const EngineOptions& options)
      : began(std::chrono::steady_clock::now()), max_batch_rows(options.max_batch_rows),
        bundle(Bundle::open(folder)), graphs(bundle, options),
        load_seconds(
            std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count()),
        worker([this] { serve(); }) {}

  ~Implementation() {
    {
      const std::scoped_lock lock(mutex);
      stopping = true;
      for (const auto& job : queue)
        job->cancelled = true;
      if (running)
        running->cancelled = true;
    }
    changed.notify_all();
    worker.join();
  }

  void serve() {
    for (;;) {
      std::shared_ptr<Job::State> job;
      {
        std::unique_lock lock(mutex);
        changed.wait(lock, [this] { return stopping || !queue.empty(); });
        if (queue.empty())
          return;
        job = queue.front();
        queue.pop_front();
        running = job;
      }
      perform(*job);
      const std::scoped_lock lock(mutex);
      running.reset();
    }
  }

  void perform(Job::State& job) {
    std::exception_ptr failure;
    try {
      const auto check = [&job] {
        if (job.cancelled)
          throw CancelledError("the request was cancelled");
      };
      Pipeline pipeline(bundle, graphs, max_batch_rows, job.request, job.callback, check);
      job.result = pipeline.run();
    } catch (const std::bad_alloc&) {
      failure = std::make_exception_ptr(OutOfMemoryError(
          "memory ran out during the request; ask for fewer candidates or a smaller picture"));
    } catch (...) {
      failure = std::current_exception();
    }
    job.finish(std::move(failure));
  }

  std::chrono::steady_clock::time_point began;
  int max_batch_rows;
  Bundle bundle;
  Graphs graphs;
  double load_seconds;

  std::mutex mutex;
  std::condition_variable changed;
  std::deque<std::shared_ptr<Job::State>> queue;
  std::shared_ptr<Job::State> running;
  bool stopping = false;
  std::thread worker;  // last: it uses everything above
};

Engine::Engine(const std::filesystem::path& bundle, const EngineOptions& options) {
  if (options.threads < 0 || options.threads > 1024)
    throw RequestError("threads is " + std::to_string(options.threads) + ", expected 0 to 1024");
  if (options.max_batch_rows < 2)
    throw RequestError("max_batch_rows is " + std::to_string(options.max_batch_rows) +
                       ", expected 2 or more: a candidate needs two rows");
  implementation_ = std::make_unique<Implementation>(bundle, options);
}

Engine::~Engine() = default;

Job Engine::submit(Request request, StepCallback callback) {
  const auto& bundle = implementation_->bundle;
  auto state = std::make_shared<Job::State>();
  state->request = resolve(std::move(request), bundle.manifest());
  // Texts and classes are checked now, so that a bad request fails in the caller's hands.
  bundle.tokenizer().encode(state->request.prompt);
  bundle.tokenizer().encode(state->request.negative_prompt);
  if (state->request.objects)
    for (const auto& factor : bundle.manifest().factors)
      if (!factor.palette.empty())
        resolve_objects(bundle.palette(factor.palette), *state->request.objects);
  state->callback = std::move(callback);
  {
    const std::scoped_lock lock(implementation_->mutex);
    implementation_->queue.push_back(state);
  }
  implementation_->changed.notify_one();
  return Job(std::move(state));
}

Result Engine::generate(Request request, StepCallback callback) {
  return submit(std::move(request), std::move(callback)).result();
}

const std::string& Engine::manifest_json() const {
  return implementation_->bundle.manifest_json();
}
const std::string& Engine::backend() const {
  return implementation_->graphs.backend();
}
const std::string& Engine::precision() const {
  return implementation_->graphs.precision();
}
std::string Engine::runtime() const {
  return implementation_->graphs.runtime();
}
std::span<const std::string> Engine::notes() const {
  return implementation_->graphs.notes();
}
double Engine::load_seconds() const {
  return implementation_->load_seconds;
}

}  // namespace fgdm
