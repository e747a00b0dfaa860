#include "graphs.hpp"

#include <algorithm>
#include <chrono>
#include <iterator>

#include "bundle_graph.hpp"
#include "context_loader.hpp"
#include "cuda_device.hpp"
#include "fgdm/error.hpp"
#include "freed_memory.hpp"
#include "graph_names.hpp"
#include "log.hpp"
#include "plan_loader.hpp"
#include "providers.hpp"
#include "roles.hpp"
#include "row_slices.hpp"

namespace fgdm {
namespace {

// Whether EngineOptions::memory is "low", which is the processor's alone: a GPU's runtime holds its
// weights there, and OpenVINO's repacks them.
bool wants_low_memory(const EngineOptions& options) {
  if (options.memory == "full")
    return false;
  if (options.memory != "low")
    throw RequestError("memory is \"" + options.memory + "\", expected \"full\" or \"low\"");
  if (options.backend != "cpu" && options.backend != "auto")
    throw RequestError("memory \"low\" is for backend \"cpu\", and backend is \"" +
                       options.backend + "\"; leave one of the two out");
  return true;
}

// Throws RequestError for what EngineOptions::attention can't be.
void check_attention(const EngineOptions& options) {
  const auto& attention = options.attention;
  if (attention != "auto" && attention != "kernel" && attention != "standard")
    throw RequestError("attention is \"" + attention +
                       "\", expected \"auto\", \"kernel\" or \"standard\"");
  if (attention != "auto" && options.backend == "tensorrt")
    throw RequestError("attention \"" + attention +
                       "\" can't change plans, which backend "
                       "\"tensorrt\" runs; build them with or without --plugin, and leave "
                       "attention out");
}

// Throws RequestError for a stream that the backend can't queue its work on.
void check_stream(const EngineOptions& options) {
  // cudaStreamLegacy and cudaStreamPerThread, by which each thread or context means another.
  const auto handle = reinterpret_cast<std::uintptr_t>(options.stream);
  if (handle == 1 || handle == 2)
    throw RequestError("stream is CUDA's default stream; make one, or leave stream out for the "
                       "engine's own");
  if (options.stream != nullptr && options.backend != "cuda" && options.backend != "tensorrt")
    throw RequestError("stream is a CUDA stream, and backend is \"" + options.backend +
                       "\"; name backend \"cuda\" or \"tensorrt\", or leave stream out");
}

// Whether the op is to be run by a kernel of ours where there is one. On the processor it is no
// faster in a whole step (docs/benchmarks.md), so it is asked for by name.
bool wants_own_attention(const EngineOptions& options, Provider provider, const std::string& made) {
  // The processor's kernel computes in float32, as float16 graphs do there.
  if (provider == Provider::cpu)
    return options.attention == "kernel" && made == "fp32";
  return options.attention != "standard";
}

}  // namespace

double Timings::total() const {
  double sum = 0;
  for (const auto& [stage, seconds] : seconds_)
    sum += seconds;
  return sum;
}

void Timings::add(const Timings& other) {
  for (const auto& [stage, seconds] : other.seconds_)
    seconds_[stage] += seconds;
}

Graphs::Graphs(const Bundle& bundle, const EngineOptions& options) : trace_(options.trace) {
  const bool low_memory = wants_low_memory(options);
  check_attention(options);
  check_stream(options);
  if (!low_memory && options.attention == "auto" && load_plans(bundle, options))
    return;
  if (options.backend == "auto" && has_plans(bundle) && (low_memory || options.attention != "auto"))
    notes_.push_back("tensorrt was passed over: plans know nothing of " +
                     (low_memory ? "memory \"low\"" : "attention \"" + options.attention + '"'));
  runtime_ = OrtRuntime::open(options.library, options.threads, plugins_for(options));
  const auto providers =
      low_memory ? std::vector{Provider::cpu} : providers_for(options.backend, *runtime_);
  for (const auto& problem : runtime_->plugin_problems())
    notes_.push_back("a plugin was passed over: " + problem);
  for (const auto provider : providers) {
    const auto& made = bundle.manifest().precision;
    const bool bfloat16 = wants_bfloat16(options.precision, made, provider);
    const OrtLoadOptions how{.bfloat16 = bfloat16,
                             .device = options.device,
                             .stream = options.stream,
                             .low_memory = low_memory,
                             .own_attention = wants_own_attention(options, provider, made)};
    if (options.attention == "kernel" && runtime_->attention(provider, how) == "standard")
      throw RequestError("attention is \"kernel\", and there is none for " + made +
                         " graphs on backend \"" + std::string(provider_name(provider)) +
                         "\"; fgdm has kernels for backend \"cpu\" with fp32 graphs, and for "
                         "\"cuda\" where libfgdm_ort_ops.so lies beside the core");
    try {
      load_all(bundle, provider, how, contexts_folder(options, bundle, provider, *runtime_));
    } catch (const Error& error) {
      if (provider == providers.back() || !is_of_the_backend(error))
        throw;
      notes_.push_back(std::string(provider_name(provider)) + " was passed over: " + error.what());
      sessions_.clear();
      device_ = host_device();
      continue;
    }
    backend_ = provider_name(provider);
    const auto plugin = runtime_->plugin_name(provider);
    runtime_name_ =
        "onnxruntime " + runtime_->version() + (plugin.empty() ? "" : " with " + plugin);
    precision_ = bfloat16 ? "bf16" : made;
    attention_ = runtime_->attention(provider, how);
    note_absent_contexts(options, makes_contexts(provider, *runtime_));
    if (options.device != 0 && !uses_gpu(provider))
      notes_.push_back("device " + std::to_string(options.device) +
                       " is a GPU, and \"auto\" took backend \"" + backend_ +
                       "\", which uses none");
    return;
  }
}

// With backend "tensorrt", or with "auto" where the bundle's plans fit this machine.
bool Graphs::load_plans(const Bundle& bundle, const EngineOptions& options) {
  const bool asked = options.backend == "tensorrt";
  if (asked && asks_for_contexts(options))
    throw RequestError("contexts is \"" + options.contexts.string() +
                       "\", and backend \"tensorrt\" runs plans, which fgdm build keeps");
  if (!asked && (options.backend != "auto" || !has_plans(bundle)))
    return false;
  try {
    auto loaded = open_plans(bundle, options.tensorrt_library, options.precision, options.device,
                             options.stream);
    tensorrt_ = std::move(loaded.backend);
    device_ = std::move(loaded.device);
    precision_ = std::move(loaded.precision);
    const auto& manifest = bundle.manifest();
    // A factor without a plan must be found now, where another backend can still be taken.
    const auto names = graph_names(manifest, Optional::load);
    for (const auto& name : names)
      sessions_[name] = tensorrt_->load(name, manifest.graph(name));
    for (const auto& name : later_names(manifest, names))
      later_[name] = [backend = tensorrt_.get(), name, graph = manifest.graph(name)] {
        return backend->load(name, graph);
      };
    std::ranges::move(loaded.problems, std::back_inserter(notes_));
  } catch (const Error& error) {
    if (asked || !is_of_the_backend(error))
      throw;
    notes_.push_back(std::string("tensorrt was passed over: ") + error.what());
    sessions_.clear();
    device_ = host_device();
    tensorrt_.reset();
    return false;
  }
  backend_ = "tensorrt";
  runtime_name_ = "tensorrt " + tensorrt_->version();
  attention_ = "plan";
  note_absent_contexts(options, false);
  return true;
}

void Graphs::note_absent_contexts(const EngineOptions& options, bool are_kept) {
  if (!are_kept && asks_for_contexts(options))
    notes_.push_back("no compiled contexts are kept: \"auto\" took backend \"" + backend_ +
                     "\", which makes none");
}

void Graphs::load_all(const Bundle& bundle, Provider provider, const OrtLoadOptions& how,
                      const std::optional<std::filesystem::path>& contexts) {
  std::vector<std::string> notes;
  // Plugins take their rows from the host: what their own memory is called differs.
  const bool built_in = runtime_->built_in(provider);
  if (how.stream != nullptr && !built_in)
    throw BackendError(
        "stream can't be given to a plugin's CUDA provider; use an ONNX Runtime that "
        "was built with CUDA (onnxruntime-gpu), or leave stream out");
  if (provider == Provider::cuda && built_in) {
    const auto gpu = std::make_shared<cuda::Gpu>(cuda::driver(), how.device);
    device_ = rows_on(
        gpu, std::make_shared<cuda::WorkStream>(gpu, static_cast<cuda::Stream>(how.stream)), notes);
  }
  const auto compiled =
      contexts ? std::make_shared<ContextLoader>(runtime_, provider, how, *contexts) : nullptr;
  const auto loader = [&](const std::string& name) -> std::function<std::unique_ptr<Session>()> {
    if (compiled)
      return [compiled, graph = compiled->describe(bundle, name)] {
        return compiled->load(graph).session;
      };
    return [runtime = runtime_, graph = graph_of(bundle, name), provider, how, name,
            spec = bundle.manifest().graph(name)] {
      auto session = runtime->load(graph, provider, how);
      check_loaded(name, spec, session->inputs(), session->outputs());
      return session;
    };
  };
  const auto names = graph_names(bundle.manifest(), Optional::leave);
  if (how.low_memory)
    steps_.emplace(bundle.manifest());
  for (const auto& name : names) {
    auto load = loader(name);
    auto session = load();
    // Where memory is short it has shown that it can be loaded, and goes.
    if (how.low_memory)
      later_[name] = std::move(load);
    else
      sessions_[name] = std::move(session);
    session.reset();
    return_freed_memory();
  }
  for (const auto& name : later_names(bundle.manifest(), names))
    later_[name] = [load = loader(name), compiled] {
      auto session = load();
      for (const auto& note : compiled ? compiled->take_notes() : std::vector<std::string>())
        tell(LogLevel::warning, note);
      return session;
    };
  if (compiled)
    std::ranges::move(compiled->take_notes(), std::back_inserter(notes));
  std::ranges::move(notes, std::back_inserter(notes_));
}

std::int64_t Graphs::padding(const std::string& graph) const {
  const auto found = sessions_.find(graph);
  return found == sessions_.end() || !found->second ? 0 : found->second->padding();
}

Session& Graphs::session(const std::string& graph) {
  if (const auto found = sessions_.find(graph); found != sessions_.end())
    return *found->second;
  if (steps_ && std::erase_if(sessions_, [&](const auto& loaded) {
                  return !steps_->together(loaded.first, graph);
                }) > 0)
    return_freed_memory();
  auto& loaded = sessions_[graph] = later_.at(graph)();
  return_freed_memory();
  return *loaded;
}

double Graphs::run(const std::string& graph, const std::string& stage,
                   std::span<const NamedTensor> inputs, std::span<const NamedTensor> outputs) {
  const auto begin = Trace::Clock::now();
  // Time is booked for failed calls too: whoever waited for them waited.
  const auto book = [&] {
    const double seconds = std::chrono::duration<double>(Trace::Clock::now() - begin).count();
    timings_.add(stage, seconds);
    trace_.span("sessions", graph, begin, outputs.front().tensor.shape.front());
    return seconds;
  };
  try {
    auto& loaded = session(graph);
    if (!tensorrt_)
      device_->finish();  // others than TensorRT's sessions compute on a stream of their own
    const auto rows = outputs.front().tensor.shape.front();
    const auto call = [&] {
      const auto most = steps_ ? std::min(rows, rows_at_once(inputs)) : rows;
      if (most == rows)
        return loaded.run(inputs, outputs);
      for (std::int64_t first = 0; first < rows; first += most) {
        const auto count = std::min(most, rows - first);
        loaded.run(rows_of(inputs, first, count), rows_of(outputs, first, count));
      }
    };
    try {
      call();
    } catch (const OutOfMemoryError&) {
      device_->trim();  // what is kept there for later rows may be what is missing
      call();
    }
  } catch (...) {
    book();
    throw;
  }
  return book();
}

}  // namespace fgdm
