#include "graphs.hpp"

#include <algorithm>
#include <array>
#include <chrono>
#include <iterator>
#include <sstream>

#include "cuda_device.hpp"
#include "fgdm/error.hpp"
#include "file_tree.hpp"
#include "freed_memory.hpp"
#include "library.hpp"
#include "plan_loader.hpp"
#include "precision.hpp"
#include "processor.hpp"
#include "roles.hpp"
#include "row_slices.hpp"
#include "wording.hpp"

namespace fgdm {
namespace {

struct Backend {
  Provider provider;
  const char* how_to_get_it;
};

constexpr std::array<Backend, 5> backends{
    {{Provider::cpu, "install onnxruntime"},
     {Provider::openvino,
      "install onnxruntime-ep-openvino beside onnxruntime 1.23 or newer on an "
      "Intel processor, on others onnxruntime-openvino in place of onnxruntime"},
     {Provider::cuda, "install onnxruntime-gpu in place of onnxruntime"},
     {Provider::tensorrt_rtx, "it needs an RTX card, NVIDIA's driver, and "
                              "onnxruntime-ep-nv-tensorrt-rtx beside onnxruntime "
                              "1.24 or newer"},
     {Provider::webgpu,
      "it needs a GPU, libvulkan.so.1, and onnxruntime-ep-webgpu beside onnxruntime 1.24.4 or "
      "newer"}}};

// Plugins that a backend may need: "cpu" none, others those that are given or named.
std::vector<std::filesystem::path> plugins_for(const EngineOptions& options) {
  if (options.backend == "cpu" || !options.plugins.empty())
    return options.backend == "cpu" ? std::vector<std::filesystem::path>{} : options.plugins;
  std::vector<std::filesystem::path> named;
  std::istringstream list(environment("FGDM_ONNXRUNTIME_PLUGINS"));
  for (std::string path; std::getline(list, path, ':');)
    if (!path.empty())
      named.emplace_back(path);
  return named;
}

// The providers to try, the best first.
std::vector<Provider> wanted(const std::string& backend, const OrtRuntime& runtime) {
  const auto here = runtime.providers();
  if (backend == "auto") {
    std::vector<Provider> tried;
    // Whose graphs are compiled for minutes, or whose arithmetic isn't known, is asked for by name.
    std::ranges::copy_if(here, std::back_inserter(tried), [](Provider provider) {
      return provider != Provider::tensorrt_rtx && provider != Provider::webgpu;
    });
    return tried;
  }
  for (const auto& [provider, how_to_get_it] : backends)
    if (provider_name(provider) == backend) {
      if (std::ranges::find(here, provider) != here.end())
        return {provider};
      auto message = "the installed ONNX Runtime " + runtime.version() +
                     " has no provider with a device for backend \"" + backend + "\"; " +
                     how_to_get_it;
      if (const auto problems = runtime.plugin_problems(); !problems.empty())
        message += ". Plugins that can't be used:\n  " + joined(problems, "\n  ");
      throw BackendError(message);
    }
  throw RequestError("backend is \"" + backend +
                     "\", expected \"auto\", \"cpu\", \"openvino\", \"cuda\", \"tensorrt\", "
                     "\"tensorrt-rtx\" or \"webgpu\"");
}

// `made` is the type of the bundle's graphs.
bool wants_bfloat16(const std::string& precision, const std::string& made, Provider provider) {
  const auto arithmetic = provider == Provider::openvino ? processor_bfloat16() : Bfloat16::none;
  if (precision == "auto")
    return arithmetic == Bfloat16::tiles;  // vectors were no faster than float32: docs/precision.md
  if (precision != "bf16") {
    check_precision(precision, made, "graphs");
    return false;
  }
  if (arithmetic == Bfloat16::none)
    throw BackendError("precision \"bf16\" needs the openvino backend on a processor with "
                       "avx512_bf16 or amx_bf16; use precision \"fp32\" here");
  return true;
}

// Whether another backend may do better: a GPU may lack a library, or its memory may be taken.
bool is_of_the_backend(const Error& error) {
  return dynamic_cast<const BackendError*>(&error) != nullptr ||
         dynamic_cast<const OutOfMemoryError*>(&error) != nullptr;
}

enum class Optional { load, leave };

// The graphs that a request may run which asks for nothing in particular. The autoencoder's encoder
// is left for those that bring a map or a picture, the networks of optional factors and the shallow
// backbones that no factor uses by itself for those that ask for them.
std::vector<std::string> graph_names(const Manifest& manifest, Optional optional) {
  std::vector<std::string> names;
  const auto add = [&](const std::string& graph) {
    if (!graph.empty() && std::ranges::find(names, graph) == names.end())
      names.push_back(graph);
  };
  add(manifest.text_encoder);
  for (const auto& factor : manifest.factors) {
    if (factor.optional && optional == Optional::leave)
      continue;
    for (const auto& graph : graphs_of_steps(manifest, factor, Shallow::by_itself))
      add(graph);
  }
  add(manifest.vae_decoder);
  add(manifest.preview_decoder);
  return names;
}

// The others.
std::vector<std::string> later_names(const Manifest& manifest,
                                     const std::vector<std::string>& first) {
  std::vector<std::string> names;
  for (const auto& [name, graph] : manifest.graphs)
    if (std::ranges::find(first, name) == first.end())
      names.push_back(name);
  return names;
}

// A graph where its bundle has it: in a file, or in an archive with all that its weights may lie
// in, which a model calls by their places beside it.
OrtGraph graph_of(const Bundle& bundle, const std::string& name) {
  const auto& files = *bundle.files();
  const auto& file = bundle.manifest().graph(name).file;
  if (auto path = files.path(file); !path.empty())
    return {std::move(path)};
  OrtGraph graph{{}, files.place(file), files.read(file, 0, files.size(file)), {}};
  const auto folder = std::filesystem::path(file).parent_path();
  for (const auto& [other, spec] : bundle.manifest().files) {
    const std::filesystem::path path(other);
    const auto called = folder.empty() ? path : path.lexically_relative(folder);
    graph.weights[called.generic_string()] = files.read(other, 0, files.size(other));
  }
  return graph;
}

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

// Whether EngineOptions::attention leaves the op to a kernel of ours.
bool wants_own_attention(const EngineOptions& options) {
  if (options.attention == "auto")
    return true;
  if (options.attention != "standard")
    throw RequestError("attention is \"" + options.attention +
                       "\", expected \"auto\" or \"standard\"");
  if (options.backend == "tensorrt")
    throw RequestError(
        "attention \"standard\" can't change plans, which backend \"tensorrt\" runs; "
        "build them without --plugin, and leave attention out");
  return false;
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
  if (options.device != 0 && (options.backend == "cpu" || options.backend == "openvino"))
    throw RequestError("device is " + std::to_string(options.device) +
                       ", which chooses a GPU, and backend \"" + options.backend + "\" uses none");
  const bool low_memory = wants_low_memory(options);
  const bool own_attention = wants_own_attention(options);
  if (!low_memory && own_attention && load_plans(bundle, options))
    return;
  runtime_ = OrtRuntime::open(options.library, options.threads, plugins_for(options));
  const auto providers =
      low_memory ? std::vector{Provider::cpu} : wanted(options.backend, *runtime_);
  for (const auto& problem : runtime_->plugin_problems())
    notes_.push_back("a plugin was passed over: " + problem);
  for (const auto provider : providers) {
    const auto& made = bundle.manifest().precision;
    const bool bfloat16 = wants_bfloat16(options.precision, made, provider);
    const OrtLoadOptions how{
        .bfloat16 = bfloat16,
        .device = options.device,
        .low_memory = low_memory,
        // The processor's kernel computes in float32, as float16 graphs do there.
        .own_attention = own_attention && (provider != Provider::cpu || made == "fp32")};
    try {
      load_all(bundle, provider, how);
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
    return;
  }
  throw BackendError("this ONNX Runtime library has none of the providers cpu, openvino and cuda");
}

// With backend "tensorrt", or with "auto" where the bundle's plans fit this machine.
bool Graphs::load_plans(const Bundle& bundle, const EngineOptions& options) {
  const bool asked = options.backend == "tensorrt";
  if (!asked && (options.backend != "auto" || !has_plans(bundle)))
    return false;
  try {
    auto loaded = open_plans(bundle, options.tensorrt_library, options.precision, options.device);
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
  return true;
}

void Graphs::load_all(const Bundle& bundle, Provider provider, const OrtLoadOptions& how) {
  std::vector<std::string> notes;
  // Plugins take their rows from the host: what their own memory is called differs.
  if (provider == Provider::cuda && runtime_->built_in(provider)) {
    const auto gpu = std::make_shared<cuda::Gpu>(cuda::driver(), how.device);
    device_ = rows_on(gpu, std::make_shared<cuda::OwnedStream>(gpu), notes);
  }
  const auto loader = [&](const std::string& name) {
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
    auto session = loader(name)();
    // Where memory is short it has shown that it can be loaded, and goes.
    if (how.low_memory)
      later_[name] = loader(name);
    else
      sessions_[name] = std::move(session);
    session.reset();
    return_freed_memory();
  }
  for (const auto& name : later_names(bundle.manifest(), names))
    later_[name] = loader(name);
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
