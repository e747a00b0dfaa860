#include "fgdm/engine.hpp"

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <exception>
#include <functional>
#include <thread>
#include <utility>

#include "batch_times.hpp"
#include "cuda_gpu.hpp"
#include "device_inputs.hpp"
#include "editing_options.hpp"
#include "fgdm/bundle.hpp"
#include "fgdm/error.hpp"
#include "file_tree.hpp"
#include "graphs.hpp"
#include "job.hpp"
#include "log.hpp"
#include "processor.hpp"
#include "providers.hpp"
#include "request.hpp"
#include "scheduler.hpp"
#include "texts.hpp"
#include "wording.hpp"

namespace fgdm {

namespace {

// Engines that are being closed on threads of their own, and the process that does it.
std::atomic<int> closing{0};
std::atomic<pid_t> closing_process{0};

// The batch times that an engine plans with. A file that was named must be there.
std::vector<BatchTimes> batch_times(const FileTree& bundle, const std::filesystem::path& named,
                                    const std::string& key) {
  if (named.empty())
    return read_batch_times(bundle, "plans/profile.json", key);
  std::error_code failed;
  if (!std::filesystem::is_regular_file(named, failed))
    throw RequestError("profile is " + named.string() +
                       ", which is no file; expected one that fgdm profile wrote");
  return read_batch_times(*folder_tree(named.parent_path()), named.filename().string(), key);
}

// What is known to be bad about the factors' own numbers of steps and spacings.
std::vector<std::string> sampling_notes(const Manifest& manifest) {
  std::vector<std::string> notes;
  for (const auto& factor : manifest.factors) {
    const auto spacing =
        factor.timestep_spacing.value_or(manifest.schedule.spacing(factor.sampler));
    const auto weakness =
        known_weakness(manifest.schedule, factor.num_inference_steps, factor.sampler, spacing);
    if (!weakness.empty())
      notes.push_back(factor.name + ": " + weakness);
  }
  return notes;
}

}  // namespace

struct Engine::Implementation {
  Implementation(const std::function<Bundle()>& open, const EngineOptions& options)
      : began(JobState::Clock::now()), max_batch_rows(options.max_batch_rows), bundle(open()),
        graphs(bundle, options),
        profile_key(graphs.backend() + " " + graphs.precision() + " " + graphs.runtime() + " " +
                    std::to_string(options.threads) + " threads " + processor_name()),
        scheduler(bundle, graphs, options,
                  batch_times(*bundle.files(), options.profile, profile_key)),
        load_seconds(std::chrono::duration<double>(JobState::Clock::now() - began).count()),
        notes(graphs.notes()), policy(options.forbid) {
    check_policy(policy, bundle);
    std::ranges::move(sampling_notes(bundle.manifest()), std::back_inserter(notes));
  }

  static std::unique_ptr<Implementation> make(const std::function<Bundle()>& open,
                                              const EngineOptions& options);

  JobState::Clock::time_point began;
  HomeProcess home;
  int max_batch_rows;
  Bundle bundle;
  Graphs graphs;
  std::string profile_key;
  Scheduler scheduler;
  double load_seconds;
  std::vector<std::string> notes;
  std::string policy;  // filters of every request
};

std::unique_ptr<Engine::Implementation>
Engine::Implementation::make(const std::function<Bundle()>& open, const EngineOptions& options) {
  check_machine(options);
  if (options.max_batch_rows < 2)
    throw RequestError("max_batch_rows is " + std::to_string(options.max_batch_rows) +
                       ", expected 2 or more: a candidate needs two rows");
  for (const auto& [name, value] :
       {std::pair("max_queue", options.max_queue), std::pair("max_active", options.max_active)})
    if (value < 1)
      throw RequestError(std::string(name) + " is " + std::to_string(value) +
                         ", expected 1 or more");
  const cuda::CallersContext kept;
  auto opened = std::make_unique<Implementation>(open, options);
  const auto& name = opened->bundle.manifest().name;
  tell(LogLevel::info, name + " is open: " + opened->graphs.runtime() + " on " +
                           opened->graphs.backend() + ", " + opened->graphs.precision() + ", " +
                           shown(opened->load_seconds) + " s");
  for (const auto& note : opened->notes)
    tell(LogLevel::warning, name + ": " + note);
  return opened;
}

Engine::Engine(const std::filesystem::path& bundle, const EngineOptions& options)
    : implementation_(Implementation::make([&] { return Bundle::open(bundle); }, options)) {}

Engine::Engine(Bytes archive, const EngineOptions& options)
    : implementation_(
          Implementation::make([&] { return Bundle::open(std::move(archive)); }, options)) {}

Engine::~Engine() {
  if (!implementation_->home.is_here()) {
    // The thread and the runtimes' threads stayed in the parent, which gives everything back.
    static_cast<void>(implementation_.release());
    return;
  }
  const cuda::CallersContext kept;
  if (!implementation_->scheduler.is_own_thread()) {
    implementation_.reset();
    return;
  }
  // A callback's: somebody else has to wait for it.
  closing_process = ::getpid();
  ++closing;
  std::thread([ended = std::move(implementation_)]() mutable {
    ended.reset();
    --closing;
    closing.notify_all();
  }).detach();
}

void Engine::finish_closing() {
  if (closing_process != ::getpid())
    return;  // a forked child has the number, but not the threads
  while (const int engines = closing)
    closing.wait(engines);
}

void Engine::close() {
  if (implementation_->home.is_here())
    implementation_->scheduler.stop();
}

Job Engine::submit(Request request, StepCallback callback, MapCallback map_callback,
                   SelectCallback select_callback) {
  implementation_->home.check("this engine");
  if ((request.select == SelectBy::callback) != static_cast<bool>(select_callback))
    throw RequestError(select_callback
                           ? "a select callback is given, but maps are chosen by recall or "
                             "compliance; let select say callback"
                           : "maps are chosen by a callback, but none is given; submit one");
  const auto& bundle = implementation_->bundle;
  auto job = std::make_shared<JobState>();
  job->request = resolve(std::move(request), bundle.manifest());
  check_places(job->request, exchange());
  check_inversion(job->request, bundle);
  if (const auto& editing = job->request.editing) {
    const auto edits = std::max(editing->edits.size(), editing->following.size());
    if (const auto rows = 2 + static_cast<int>(edits); rows > implementation_->max_batch_rows)
      throw RequestError("edits has " + std::to_string(edits) +
                         " entries, which with guidance take " + std::to_string(rows) +
                         " rows of a batch, but max_batch_rows is " +
                         std::to_string(implementation_->max_batch_rows) +
                         "; give fewer, or open the engine with more rows");
  }
  job->texts = read_texts(job->request, bundle, implementation_->policy);
  job->maps = read_maps(job->request, bundle);
  job->callback = std::move(callback);
  job->map_callback = std::move(map_callback);
  job->select_callback = std::move(select_callback);
  job->first_rows = first_rows(job->request, bundle.manifest());
  implementation_->scheduler.submit(job);
  return Job(std::move(job));
}

Result Engine::generate(Request request, StepCallback callback, MapCallback map_callback,
                        SelectCallback select_callback) {
  implementation_->home.check("this engine");
  if (implementation_->scheduler.is_own_thread())
    throw RequestError("generate() in a callback of the same engine would wait for the callback; "
                       "use submit() there");
  return submit(std::move(request), std::move(callback), std::move(map_callback),
                std::move(select_callback))
      .result();
}

std::string Engine::bundle_file(const std::string& name) const {
  const auto& bundle = implementation_->bundle;
  if (!bundle.manifest().files.contains(name))
    throw RequestError("the bundle lists no file \"" + excerpt(name) +
                       "\"; expected a name under \"files\" of its manifest");
  const auto& files = *bundle.files();
  return read_text(files, name, files.size(name));
}

Exchange Engine::exchange() const {
  return implementation_->graphs.device()->exchange();
}

std::shared_ptr<const SharedMemory> Engine::adopt(std::byte* data, std::size_t bytes,
                                                  std::shared_ptr<void> owner) const {
  implementation_->home.check("this engine");
  return implementation_->graphs.device()->adopt(data, bytes, std::move(owner));
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
const std::string& Engine::attention() const {
  return implementation_->graphs.attention();
}
std::string Engine::runtime() const {
  return implementation_->graphs.runtime();
}
std::span<const std::string> Engine::notes() const {
  return implementation_->notes;
}
std::string Engine::trace_problem() const {
  return implementation_->graphs.trace_problem();
}
double Engine::load_seconds() const {
  return implementation_->load_seconds;
}
const std::string& Engine::profile_key() const {
  return implementation_->profile_key;
}
Metrics Engine::metrics() const {
  implementation_->home.check("this engine");
  return implementation_->scheduler.metrics();
}

std::vector<BatchTimes> Engine::measure_batches(std::span<const int> rows, int repeats,
                                                std::optional<int> height, std::optional<int> width,
                                                const std::function<void()>& poll) {
  auto& self = *implementation_;
  self.home.check("this engine");
  for (const int count : rows)
    if (count < 1 || count > self.max_batch_rows)
      throw RequestError("rows has " + std::to_string(count) + ", expected 1 to max_batch_rows, " +
                         std::to_string(self.max_batch_rows));
  if (repeats < 1)
    throw RequestError("repeats is " + std::to_string(repeats) + ", expected 1 or more");
  std::vector<BatchTimes> times;
  std::exception_ptr interruption;
  std::atomic<bool> interrupted{false};
  const auto check = [&] {
    self.scheduler.check_stopping();
    if (interrupted)
      throw CancelledError("measuring was interrupted");
  };
  const auto wait = [&] {
    try {
      if (poll && !interrupted)
        poll();
    } catch (...) {
      interruption = std::current_exception();
      interrupted = true;
    }
  };
  try {
    self.scheduler.perform(
        [&] {
          times =
              fgdm::measure_batches(self.bundle, self.graphs, rows, repeats, height, width, check);
        },
        wait);
  } catch (const CancelledError&) {
    if (!interrupted)
      throw;
  }
  if (interruption)
    std::rethrow_exception(interruption);
  return times;
}

}  // namespace fgdm
