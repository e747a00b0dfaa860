#include "context_loader.hpp"

#include <chrono>
#include <system_error>

#include "bundle_graph.hpp"
#include "covers.hpp"
#include "fgdm/error.hpp"
#include "file_tree.hpp"
#include "log.hpp"
#include "processor.hpp"
#include "providers.hpp"
#include "roles.hpp"
#include "wording.hpp"

namespace fgdm {
namespace {

namespace fs = std::filesystem;

// Counts changes of what providers are asked for that their options don't show.
constexpr int context_recipe = 1;

std::string reason(const fs::filesystem_error& error) {
  return error.code().message();
}

}  // namespace

bool asks_for_contexts(const EngineOptions& options) {
  return options.contexts != "auto" && options.contexts != "off";
}

std::optional<fs::path> contexts_folder(const EngineOptions& options, const Bundle& bundle,
                                        Provider provider, const OrtRuntime& runtime) {
  if (options.contexts.empty())
    throw RequestError("contexts is \"\", expected \"auto\", \"off\", \"bundle\" or a folder");
  // What others compile takes no longer than to read it: docs/runtimes.md.
  if (options.contexts == "off" ||
      (options.contexts == "auto" && provider != Provider::tensorrt_rtx))
    return std::nullopt;
  if (makes_contexts(provider, runtime)) {
    if (asks_for_contexts(options) && options.contexts != "bundle")
      return options.contexts;
    const auto manifest = bundle.files()->path("manifest.json");  // empty in an archive
    if (!manifest.empty())
      return manifest.parent_path() / "contexts";
    if (options.contexts == "bundle")
      throw RequestError("contexts is \"bundle\", and the bundle is an archive, into which nothing "
                         "is written; name a folder for them");
    return std::nullopt;
  }
  if (options.backend != "auto")
    throw RequestError("contexts is \"" + options.contexts.string() + "\", and backend \"" +
                       options.backend + "\" compiles none that could be kept; " +
                       std::string(context_makers));
  return std::nullopt;
}

ContextLoader::ContextLoader(std::shared_ptr<OrtRuntime> runtime, Provider provider,
                             OrtLoadOptions how, fs::path folder)
    : runtime_(std::move(runtime)), provider_(provider), how_(std::move(how)),
      folder_(std::move(folder)), target_(runtime_->target(provider, how_)) {
  if (target_.device.empty() || target_.device.starts_with("CPU"))
    target_.device += (target_.device.empty() ? "" : ", ") + processor_name();
}

ContextLoader::Graph ContextLoader::describe(const Bundle& bundle, const std::string& name) const {
  const auto& manifest = bundle.manifest();
  const auto& graph = manifest.graph(name);
  return {name,
          graph_of(bundle, name),
          graph,
          {{"recipe", context_recipe},
           {"target", provider_name(provider_)},
           {"runtime", "onnxruntime " + runtime_->version()},
           {"provider", target_.provider},
           {"device", target_.device},
           {"options", target_.options},
           {"precision", how_.bfloat16 ? "bf16" : manifest.precision},
           {"graph", name},
           {"graph_file", graph.file},
           {"files", graph_files(*bundle.files(), manifest, name)}}};
}

// What TensorRT-RTX compiles on the card, beside the context. The provider itself sees whether it
// fits, and names the file in it after the graph's parts, which other graphs may have too.
OrtLoadOptions ContextLoader::how_to_load(const Graph& graph) const {
  auto how = how_;
  if (provider_ == Provider::tensorrt_rtx) {
    auto kernels = folder_.place(graph.covers);
    kernels += ".kernels";
    std::error_code failed;
    fs::create_directories(kernels, failed);
    if (!failed)
      how.kernels = std::move(kernels);
  }
  return how;
}

std::unique_ptr<Session> ContextLoader::load_checked(const Graph& graph, const OrtGraph& file,
                                                     const OrtLoadOptions& how) const {
  auto session = runtime_->load(file, provider_, how);
  check_loaded(graph.name, graph.described, session->inputs(), session->outputs());
  return session;
}

ContextLoader::Loaded ContextLoader::load(const Graph& graph) {
  std::string problem;
  const auto model = folder_.find(graph.covers, problem);
  if (model) {
    try {
      return {load_checked(graph, {*model}, how_to_load(graph)), true, folder_.bytes(graph.covers)};
    } catch (const OutOfMemoryError&) {
      throw;
    } catch (const Error& error) {
      problem = folder_.place(graph.covers).string() + " can't be loaded: " + error.what();
    }
  }
  if (!problem.empty())
    notes_.push_back("the compiled context of " + graph.name + " was made anew: " + problem);
  if (given_up_)
    return {load_checked(graph, graph.file, how_), false, 0};
  return compile(graph, model.has_value());
}

ContextLoader::Loaded ContextLoader::compile(const Graph& graph, bool replaces) {
  std::optional<ContextDraft> draft;
  try {
    draft.emplace(folder_, graph.covers);
  } catch (const fs::filesystem_error& error) {
    give_up(reason(error));
    return {load_checked(graph, graph.file, how_), false, 0};
  }
  auto how = how_to_load(graph);
  how.context = draft->model();
  const auto began = std::chrono::steady_clock::now();
  Loaded loaded{nullptr, false, 0};
  try {
    loaded.session = load_checked(graph, graph.file, how);
  } catch (const OutOfMemoryError&) {
    throw;
  } catch (const BackendError& error) {
    // Without a context it shows whether the graph is at fault, which is an error then.
    loaded.session = load_checked(graph, graph.file, how_);
    give_up(error.what());
    return loaded;
  }
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - began;
  if (!draft->is_written()) {
    notes_.push_back(target_.provider + " made no compiled context of " + graph.name +
                     ", which is compiled whenever it is loaded");
    return loaded;
  }
  try {
    draft->keep(took.count(), replaces);
    loaded.bytes = folder_.bytes(graph.covers);
    tell(LogLevel::info, graph.name + " was compiled in " + shown(took.count()) +
                             " s; its context is kept in " + folder_.path().string());
  } catch (const fs::filesystem_error& error) {
    give_up(reason(error));
  } catch (const BundleError& error) {  // what it wrote can't be read
    give_up(error.what());
  }
  return loaded;
}

void ContextLoader::give_up(const std::string& why) {
  given_up_ = true;
  notes_.push_back("compiled contexts can't be kept in " + folder_.path().string() + " (" + why +
                   "), so graphs are compiled whenever they are loaded; name a folder that can be "
                   "written as `contexts`, or \"off\"");
}

}  // namespace fgdm
