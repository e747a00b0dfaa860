#include "scheduler.hpp"

#include <algorithm>
#include <new>
#include <optional>
#include <set>

#include "fgdm/error.hpp"
#include "log.hpp"
#include "wording.hpp"

namespace fgdm {
namespace {

using Clock = JobState::Clock;

constexpr std::size_t cached_embeddings = 128;
// A queued request that so many later ones overtook goes next, whatever its priority.
constexpr int most_overtaken = 20;

double seconds_since(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

// What a function throws, nothing if it doesn't; a std::bad_alloc becomes an error that says what
// to do. Nothing else holds it any more, so that who is answered with it is the one who frees it.
template <typename Function> std::exception_ptr failure_of(const Function& function) {
  try {
    function();
    return nullptr;
  } catch (const std::bad_alloc&) {
    return std::make_exception_ptr(OutOfMemoryError(
        "memory ran out during the request; ask for fewer candidates or a smaller picture"));
  } catch (...) {
    return std::current_exception();
  }
}

void tell_of_retry(int rows, bool in_parts, const std::exception_ptr& failure) noexcept {
  try {
    std::string reason;
    try {
      std::rethrow_exception(failure);
    } catch (const std::exception& error) {
      reason = error.what();
    }
    tell(LogLevel::warning, "a batch of " + shown(rows) + " rows failed and is run again" +
                                (in_parts ? " in two parts: " : ": ") + reason);
  } catch (...) {  // there is no memory for the words: the work goes on
  }
}

bool is_out_of_memory(const std::exception_ptr& failure) {
  try {
    std::rethrow_exception(failure);
  } catch (const OutOfMemoryError&) {
    return true;
  } catch (...) {
    return false;
  }
}

// Resolutions whose buffers are kept: maps and images of two sizes.
std::size_t resolutions_kept(const Manifest& manifest) {
  std::set<Resolution> of_one_size;
  for (const auto& factor : manifest.factors) {
    of_one_size.insert({factor.height, factor.width, factor.own_backbone});
    if (factor.cache.interval > 1)
      of_one_size.insert({factor.height, factor.width, manifest.shallow_of(factor.cache).graph});
  }
  return std::max<std::size_t>(4, 2 * of_one_size.size());
}

}  // namespace

Scheduler::Scheduler(const Bundle& bundle, Graphs& graphs, const EngineOptions& options,
                     std::vector<BatchTimes> batch_times)
    : bundle_(bundle), graphs_(graphs), max_queue_(static_cast<std::size_t>(options.max_queue)),
      max_active_(static_cast<std::size_t>(options.max_active)),
      kept_resolutions_(resolutions_kept(bundle.manifest())),
      backbones_(bundle.manifest().backbones()),
      policy_(options.policy, options.max_batch_rows, std::move(batch_times)),
      loras_(bundle, graphs), embeddings_(bundle, graphs, loras_, cached_embeddings),
      thread_([this] { serve(); }), worker_(thread_.get_id()) {}

Scheduler::~Scheduler() {
  stop();
}

void Scheduler::stop() {
  {
    const std::scoped_lock lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  if (is_own_thread())
    return;
  const std::scoped_lock lock(joining_);
  if (thread_.joinable())
    thread_.join();
}

// With the mutex locked.
void Scheduler::check_open() const {
  if (stopping_)
    throw RequestError("this engine is closed; open the bundle again");
}

void Scheduler::submit(std::shared_ptr<JobState> job) {
  job->worker = worker_;
  {
    const std::scoped_lock lock(mutex_);
    check_open();
    if (queue_.size() >= max_queue_) {
      ++metrics_.refused;
      throw QueueFullError(std::to_string(queue_.size()) +
                           " requests are waiting, which is max_queue; try again when some are "
                           "done, or open the engine with a larger max_queue");
    }
    ++metrics_.accepted;
    queue_.push_back(std::move(job));
  }
  changed_.notify_one();
}

void Scheduler::perform(const std::function<void()>& function, const std::function<void()>& wait) {
  if (is_own_thread())
    throw RequestError("a callback of an engine can't wait for the same engine, which would wait "
                       "for the callback; call this from another thread");
  std::packaged_task<void()> task(function);
  auto done = task.get_future();
  {
    const std::scoped_lock lock(mutex_);
    check_open();
    functions_.push_back(std::move(task));
  }
  changed_.notify_one();
  while (done.wait_for(std::chrono::milliseconds(100)) == std::future_status::timeout)
    wait();
  try {
    done.get();
  } catch (const std::future_error&) {  // its turn never came
    throw CancelledError("the engine was closed before this was done");
  }
}

void Scheduler::check_stopping() const {
  const std::scoped_lock lock(mutex_);
  if (stopping_)
    throw CancelledError("the engine was closed before this was done");
}

Metrics Scheduler::metrics() const {
  const std::scoped_lock lock(mutex_);
  auto now = metrics_;
  now.queued = static_cast<std::int64_t>(queue_.size());
  now.waiting_rows = waiting_rows_;
  for (const auto& job : queue_)
    now.waiting_rows += job->first_rows;
  return now;
}

void Scheduler::serve() {
  while (next_round()) {
    const auto failure = failure_of([&] {
      sweep();
      admit();
      work();
      publish();
    });
    if (failure)  // lack of memory for the scheduler's own lists, say; requests to come may fit
      fail_all(failure);
  }
  fail_all(
      std::make_exception_ptr(CancelledError("the engine was closed before the request was done")));
  const std::scoped_lock lock(mutex_);
  functions_.clear();  // who waits for them is told by their broken promises
}

// Answers everything that is active or queued.
void Scheduler::fail_all(const std::exception_ptr& error) {
  while (!tasks_.empty())
    end(*tasks_.back(), error);
  std::deque<std::shared_ptr<JobState>> waiting;
  {
    const std::scoped_lock lock(mutex_);
    waiting.swap(queue_);
  }
  for (const auto& job : waiting) {
    count_ended(error, seconds_since(job->submitted));
    job->fail(error);
  }
}

// Waits for something to do; false when the scheduler stops.
bool Scheduler::next_round() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] {
    return stopping_ || !queue_.empty() || !functions_.empty() || !tasks_.empty();
  });
  while (!stopping_ && !functions_.empty()) {
    auto function = std::move(functions_.front());
    functions_.pop_front();
    lock.unlock();
    function();
    lock.lock();
  }
  return !stopping_;
}

// Ends what was cancelled or came too late, queued or active.
void Scheduler::sweep() {
  for (std::size_t i = tasks_.size(); i-- > 0;)
    if (auto error = failure_of([&] { tasks_[i]->job().check(); }))
      end(*tasks_[i], std::move(error));
  std::vector<std::pair<std::shared_ptr<JobState>, std::exception_ptr>> ended;
  {
    const std::scoped_lock lock(mutex_);
    std::erase_if(queue_, [&](const std::shared_ptr<JobState>& job) {
      auto error = failure_of([&] { job->check(); });
      if (!error)
        return false;
      ended.emplace_back(job, std::move(error));
      return true;
    });
  }
  for (auto& [job, error] : ended) {
    count_ended(error, seconds_since(job->submitted));
    job->fail(std::move(error));
  }
}

// Nobody waits while all of a burst begin, one text after another: where requests are at work, one
// joins them before each batch.
void Scheduler::admit() {
  const auto most = tasks_.empty() ? max_active_ : std::min(max_active_, tasks_.size() + 1);
  while (tasks_.size() < most) {
    std::shared_ptr<JobState> job;
    {
      const std::scoped_lock lock(mutex_);
      if (queue_.empty())
        return;
      // The highest priority; among those the one that came first.
      const auto next = std::ranges::max_element(queue_, {}, [](const auto& queued) {
        return std::pair(queued->overtaken >= most_overtaken, queued->request.priority);
      });
      job = *next;
      std::for_each(queue_.begin(), next, [](const auto& queued) { ++queued->overtaken; });
      queue_.erase(next);
    }
    begin(job);
  }
}

void Scheduler::begin(const std::shared_ptr<JobState>& job) {
  const double queued = seconds_since(job->submitted);
  const auto began = Clock::now();
  auto failure = failure_of([&] {
    tasks_.push_back(std::make_unique<Task>(bundle_, graphs_, embeddings_, job, next_number_++));
  });
  if (failure) {
    count_ended(failure, queued);
    job->fail(std::move(failure));
    return;
  }
  counted_.queue_seconds += queued;
  if ((failure = failure_of([&] { tasks_.back()->begin(); })))
    end(*tasks_.back(), std::move(failure));
  policy_.held_up(seconds_since(began));
}

Resolution Scheduler::resolution_of(const Work& work) {
  const auto& run = work.run();
  const auto& [height, width, latent_height, latent_width] = run.size;
  if (work.decode != nullptr)
    return {latent_height, latent_width, *work.decode->decoder, true};
  return {latent_height, latent_width, run.backbone(work.trajectory->step)};
}

// Runs the batch that the policy chooses of what waits.
void Scheduler::work() {
  Batch all;
  for (const auto& task : tasks_) {
    for (auto* trajectory : task->ready())
      all.push_back({task.get(), trajectory, nullptr});
    for (auto& decode : task->decodes())
      all.push_back({task.get(), nullptr, &decode});
  }
  std::vector<Waiting> waiting;
  std::int64_t waiting_rows = 0;
  for (const auto& one : all) {
    if (one.trajectory != nullptr)
      waiting_rows += one.rows();
    waiting.push_back({resolution_of(one), one.run().factor.is_image, one.rows(),
                       one.task->job().request.priority, one.task->number(), one.step(),
                       one.passed_over()++});
  }
  waiting_rows_ = waiting_rows;
  Batch batch;
  for (const auto i : policy_.choose(waiting)) {
    batch.push_back(all[i]);
    all[i].passed_over() = 0;
  }
  if (!batch.empty())
    run_batch(batch);
}

// One step of every trajectory, or every picture. A batch that fails is run again in halves, so
// that a failure hits only who causes it, and a lack of memory only who cannot do with less.
void Scheduler::run_batch(const Batch& batch) {
  int rows = 0, image_rows = 0;
  for (const auto& one : batch) {
    rows += one.rows();
    if (one.run().factor.is_image)
      image_rows += one.rows();
  }
  const auto resolution = resolution_of(batch.front());
  const bool has_spare = !batches_.empty();
  RowBuffer pictures;
  Timings timings;
  const auto begin = Clock::now();
  auto failure = failure_of([&] {
    if (resolution.decodes)
      pictures = decode_rows(batch, timings);
    else
      take_steps(batch, resolution);
  });
  policy_.served(resolution, rows, static_cast<double>(image_rows) / rows, seconds_since(begin));
  if (!failure) {
    policy_.fitted(resolution, rows);
    if (!resolution.decodes) {
      graphs_.trace().span("batches", image_rows > 0 ? "image" : "maps", begin, rows);
      ++counted_.batches;
      counted_.rows += rows;
      ++counted_.batches_of_rows[rows];
    }
    go_on(batch, pictures, timings.total() / rows);
    return;
  }
  const bool lacks_memory = is_out_of_memory(failure);
  if (lacks_memory) {
    batches_.clear();
    loras_.trim();
    graphs_.device()->trim();
    if (batch.size() > 1)
      policy_.ran_out_of_memory(resolution, rows);
  }
  const bool may_help = batch.size() > 1 || (lacks_memory && has_spare);
  if (!may_help) {
    end(*batch.front().task, std::move(failure));
    return;
  }
  ++counted_.retries;
  tell_of_retry(rows, batch.size() > 1, failure);
  if (batch.size() == 1) {  // with the memory that was just given back
    run_batch(batch);
    return;
  }
  const auto middle = batch.begin() + static_cast<std::ptrdiff_t>(batch.size() / 2);
  run_batch(Batch(batch.begin(), middle));
  Batch rest;  // what is still there: the first half may have ended some of its requests
  for (auto item = middle; item != batch.end(); ++item)
    if (std::ranges::find(tasks_, item->task, &std::unique_ptr<Task>::get) != tasks_.end())
      rest.push_back(*item);
  if (!rest.empty())
    run_batch(rest);
}

// The buffers of a resolution's batches. Those of the one that wasn't used for longest are given
// back where there are too many.
StepBatch& Scheduler::step_batch(Resolution resolution) {
  const auto found =
      std::ranges::find(batches_, resolution, &std::pair<Resolution, StepBatch>::first);
  if (found != batches_.end())
    batches_.splice(batches_.begin(), batches_, found);
  else
    batches_.emplace_front(resolution, StepBatch(bundle_.manifest(), graphs_, loras_));
  if (batches_.size() > kept_resolutions_)
    batches_.pop_back();
  return batches_.front().second;
}

void Scheduler::take_steps(const Batch& batch, const Resolution& resolution) {
  std::vector<Trajectory*> trajectories;
  for (const auto& one : batch)
    trajectories.push_back(one.trajectory);
  step_batch(resolution).run(trajectories);
}

RowBuffer Scheduler::decode_rows(const Batch& batch, Timings& timings) {
  std::vector<const RowBuffer*> latents;
  for (const auto& one : batch)
    latents.push_back(one.decode->latents);
  return decode(bundle_.manifest(), graphs_, *batch.front().decode->decoder,
                batch.front().run().size, latents, timings);
}

// Lets every request of a batch go on with its latents, or with its rows of pictures, each of which
// took so many seconds.
void Scheduler::go_on(const Batch& batch, const RowBuffer& pictures, double seconds) {
  std::vector<Task*> order;
  std::map<Task*, std::vector<std::size_t>> rows;
  for (std::size_t row = 0; row < batch.size(); ++row) {
    auto* task = batch[row].task;
    if (!rows.contains(task))
      order.push_back(task);
    rows[task].push_back(row);
  }
  for (auto* task : order) {
    auto error = failure_of([&] {
      std::vector<Trajectory*> stepped;
      for (const auto row : rows[task])
        if (auto* decode = batch[row].decode)
          task->decoded(*decode, pictures, row, seconds);
        else
          stepped.push_back(batch[row].trajectory);
      if (!stepped.empty())
        task->stepped(stepped);
    });
    if (error || task->done())
      end(*task, std::move(error));
  }
}

// Answers a request and forgets it, whatever else fails.
void Scheduler::end(Task& task, std::exception_ptr error) noexcept {
  const auto found = std::ranges::find(tasks_, &task, &std::unique_ptr<Task>::get);
  const auto ending = std::move(*found);
  tasks_.erase(found);
  std::optional<Result> result;
  if (!error)
    error = failure_of([&] { result = ending->result(); });
  try {
    book(*ending, error);
  } catch (...) {  // a timeline that lacks a request is better than a request without an answer
  }
  if (error)
    ending->job().fail(std::move(error));
  else
    ending->job().succeed(std::move(*result));
}

// Counts what a request took.
void Scheduler::book(Task& task, const std::exception_ptr& error) {
  counted_.rows_saved += task.rows_saved();
  counted_.candidates_failed += task.candidates_failed();
  count_ended(error, 0);
  graphs_.trace().request(task.number(), task.job().submitted, error ? "failed" : "done");
}

// Counts an answer before its caller hears of it.
void Scheduler::count_ended(const std::exception_ptr& error, double queued) noexcept {
  counted_.queue_seconds += queued;
  try {
    if (error)
      std::rethrow_exception(error);
    ++counted_.finished;
  } catch (const CancelledError&) {
    ++counted_.cancelled;
  } catch (...) {
    ++counted_.failed;
  }
  try {
    publish();
  } catch (...) {  // numbers that lack a request are better than a request without an answer
  }
}

void Scheduler::publish() {
  counted_.active = static_cast<std::int64_t>(tasks_.size());
  if (tasks_.empty())
    waiting_rows_ = 0;
  counted_.padding = 0;
  for (const auto& backbone : backbones_)
    counted_.padding += graphs_.padding(backbone);
  counted_.context_hits = embeddings_.hits();
  counted_.context_misses = embeddings_.misses();
  counted_.session_seconds = graphs_.timings().seconds();
  const std::scoped_lock lock(mutex_);
  const auto accepted = metrics_.accepted, refused = metrics_.refused;
  metrics_ = counted_;
  metrics_.accepted = accepted;
  metrics_.refused = refused;
}

}  // namespace fgdm
