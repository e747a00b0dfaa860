#include "graphs.hpp"

#include <algorithm>
#include <chrono>
#include <future>
#include <iterator>

#include "cuda_device.hpp"
#include "fgdm/error.hpp"
#include "plan_loader.hpp"
#include "precision.hpp"
#include "processor.hpp"
#include "roles.hpp"

namespace fgdm {
namespace {

std::vector<Provider> wanted(const std::string& backend, const std::vector<Provider>& built) {
  if (backend == "auto")
    return built;
  for (const auto provider : {Provider::cpu, Provider::openvino, Provider::cuda})
    if (provider_name(provider) == backend) {
      if (std::ranges::find(built, provider) == built.end())
        throw BackendError("the installed ONNX Runtime has no provider for backend \"" + backend +
                           "\"; install onnxruntime-" + (backend == "cuda" ? "gpu" : backend) +
                           " in place of onnxruntime");
      return {provider};
    }
  throw RequestError("backend is \"" + backend +
                     "\", expected \"auto\", \"cpu\", \"openvino\", \"cuda\" or \"tensorrt\"");
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

// The graphs that every request's chain may run. The autoencoder's encoder is left for those that
// bring a map or a picture, and the shallow backbones that no factor uses by itself for those that
// ask for them.
std::vector<std::string> graph_names(const Manifest& manifest) {
  std::vector<std::string> names;
  const auto add = [&](const std::string& graph) {
    if (!graph.empty() && std::ranges::find(names, graph) == names.end())
      names.push_back(graph);
  };
  add(manifest.text_encoder);
  for (const auto& factor : manifest.factors) {
    add(manifest.backbone_of(factor));
    if (factor.cache.interval > 1)
      add(manifest.shallow_of(factor.cache).graph);
    for (const auto& network : factor.conditionings) {
      add(network.graph);
      add(network.hint_graph);
    }
  }
  add(manifest.vae_decoder);
  add(manifest.preview_decoder);
  return names;
}

std::vector<std::string> later_names(const Manifest& manifest) {
  const auto first = graph_names(manifest);
  std::vector<std::string> names{manifest.vae_encoder};
  for (const auto& shallow : manifest.shallow)
    if (std::ranges::find(first, shallow.graph) == first.end())
      names.push_back(shallow.graph);
  return names;
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
  if (load_plans(bundle, options))
    return;
  runtime_ = OrtRuntime::open(options.library, options.threads);
  runtime_name_ = "onnxruntime " + runtime_->version();
  const auto providers = wanted(options.backend, runtime_->providers());
  for (const auto provider : providers) {
    const auto& made = bundle.manifest().precision;
    const bool bfloat16 = wants_bfloat16(options.precision, made, provider);
    try {
      load_all(bundle, provider, bfloat16);
    } catch (const Error& error) {
      if (provider == providers.back() || !is_of_the_backend(error))
        throw;
      notes_.push_back(std::string(provider_name(provider)) + " was passed over: " + error.what());
      sessions_.clear();
      device_ = host_device();
      continue;
    }
    backend_ = provider_name(provider);
    precision_ = bfloat16 ? "bf16" : made;
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
    auto loaded = open_plans(bundle, options.tensorrt_library, options.precision);
    tensorrt_ = std::move(loaded.backend);
    device_ = std::move(loaded.device);
    precision_ = std::move(loaded.precision);
    const auto& manifest = bundle.manifest();
    for (const auto& name : graph_names(manifest))
      sessions_[name] = tensorrt_->load(name, manifest.graph(name));
    for (const auto& name : later_names(manifest))
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
  return true;
}

void Graphs::load_all(const Bundle& bundle, Provider provider, bool bfloat16) {
  std::vector<std::string> notes;
  if (provider == Provider::cuda) {
    const auto gpu = std::make_shared<cuda::Gpu>(cuda::driver());
    device_ = rows_on(gpu, std::make_shared<cuda::OwnedStream>(gpu), notes);
  }
  const auto loader = [&](const std::string& name) {
    return [runtime = runtime_, file = bundle.graph_file(name), provider, bfloat16, name,
            graph = bundle.manifest().graph(name)] {
      auto session = runtime->load(file, provider, bfloat16);
      check_loaded(name, graph, session->inputs(), session->outputs());
      return session;
    };
  };
  // The backbone takes as long as the others together; on a GPU, loading waits for the bus.
  const auto& backbone = bundle.manifest().backbone_of(bundle.manifest().factors.back());
  const auto policy = provider == Provider::cuda ? std::launch::deferred : std::launch::async;
  auto loading = std::async(policy, loader(backbone));
  for (const auto& name : graph_names(bundle.manifest()))
    if (name != backbone)
      sessions_[name] = loader(name)();
  sessions_[backbone] = loading.get();
  for (const auto& name : later_names(bundle.manifest()))
    later_[name] = loader(name);
  std::ranges::move(notes, std::back_inserter(notes_));
}

std::int64_t Graphs::padding(const std::string& graph) const {
  const auto found = sessions_.find(graph);
  return found == sessions_.end() || !found->second ? 0 : found->second->padding();
}

Session& Graphs::session(const std::string& graph) {
  auto& found = sessions_[graph];
  if (!found)
    found = later_.at(graph)();
  return *found;
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
    try {
      loaded.run(inputs, outputs);
    } catch (const OutOfMemoryError&) {
      device_->trim();  // what is kept there for later rows may be what is missing
      loaded.run(inputs, outputs);
    }
  } catch (...) {
    book();
    throw;
  }
  return book();
}

}  // namespace fgdm
