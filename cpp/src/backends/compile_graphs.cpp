#include <algorithm>
#include <chrono>

#include "context_loader.hpp"
#include "fgdm/contexts.hpp"
#include "fgdm/error.hpp"
#include "freed_memory.hpp"
#include "graph_names.hpp"
#include "providers.hpp"

namespace fgdm {
namespace {

// Of those that the backend would try, the first that makes contexts; or else the first, which is
// refused for that.
Provider compiling_provider(const EngineOptions& options, const OrtRuntime& runtime) {
  const auto tried = providers_for(options.backend, runtime);
  const auto found = std::ranges::find_if(
      tried, [&](Provider provider) { return makes_contexts(provider, runtime); });
  return found == tried.end() ? tried.front() : *found;
}

}  // namespace

std::vector<CompiledGraph> compile_graphs(const std::filesystem::path& folder,
                                          const EngineOptions& options,
                                          const std::function<void(const CompiledGraph&)>& each) {
  check_machine(options);
  if (options.backend == "tensorrt")
    throw RequestError("backend \"tensorrt\" runs plans, which fgdm build makes; of compiled "
                       "contexts, " +
                       std::string(context_makers));
  if (options.contexts == "off")
    throw RequestError("contexts is \"off\", so there is nothing to keep compiled graphs in; "
                       "expected \"bundle\" or a folder");
  const auto bundle = Bundle::open(folder);
  const auto runtime = OrtRuntime::open(options.library, options.threads, plugins_for(options));
  const auto provider = compiling_provider(options, *runtime);
  auto kept = options;
  if (kept.contexts == "auto")
    kept.contexts = "bundle";
  const auto place = contexts_folder(kept, bundle, provider, *runtime);
  if (!place)
    throw RequestError("no provider here makes compiled contexts; " + std::string(context_makers));
  const bool bfloat16 = wants_bfloat16(options.precision, bundle.manifest().precision, provider);
  ContextLoader loader(runtime, provider, {.bfloat16 = bfloat16, .device = options.device}, *place);
  std::vector<CompiledGraph> all;
  for (const auto& name : all_names(bundle.manifest())) {
    const auto began = std::chrono::steady_clock::now();
    {
      const auto loaded = loader.load(loader.describe(bundle, name));
      const std::chrono::duration<double> took = std::chrono::steady_clock::now() - began;
      all.push_back({name, loaded.was_kept, took.count(), loaded.bytes, loader.take_notes()});
    }
    return_freed_memory();
    if (each)
      each(all.back());
  }
  return all;
}

}  // namespace fgdm
