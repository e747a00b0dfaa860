#include "plan_loader.hpp"

#include <algorithm>
#include <utility>

#include "cuda_device.hpp"
#include "fgdm/error.hpp"
#include "file_tree.hpp"
#include "library.hpp"
#include "precision.hpp"
#include "tensorrt_runtime.hpp"
#include "wording.hpp"

namespace fgdm {
namespace {

constexpr const char* target = "tensorrt";

// TensorRT 8.5 can't be told of a plugin: the library has to register it when it is opened.
const char* plugin_library() {
  return tensorrt_headers() == "8.5" ? "libfgdm_tensorrt_onload.so" : "libfgdm_tensorrt.so";
}

std::filesystem::path find_plugin() {
  const auto named = environment("FGDM_TENSORRT_PLUGIN");
  const auto path = named.empty() ? core_folder() / plugin_library() : std::filesystem::path(named);
  if (!std::filesystem::is_regular_file(path))
    throw BackendError(path.string() +
                       " is missing, and the plans need it for SegFreeAttention; build it from "
                       "kernels/, or give its path in FGDM_TENSORRT_PLUGIN, or build plans without "
                       "--plugin");
  return path;
}

}  // namespace

bool has_plans(const Bundle& bundle) {
  return !bundle.files()->list(std::string("plans/") + target).empty();
}

std::vector<Plan> fitting_plans(const Manifest& manifest, std::vector<Plan> plans,
                                const PlanHost& host, std::vector<std::string>& problems) {
  std::erase_if(plans, [&](const Plan& plan) {
    auto reason = obstacle(plan, host);
    if (!reason.empty())
      problems.push_back(plan.file.filename().string() + ": " + reason);
    return !reason.empty();
  });
  const auto missing = uncovered(manifest, plans);
  if (missing.empty())
    return plans;
  auto message = "no plan fits this machine (" + host.architecture + ", TensorRT " + host.runtime +
                 ") for " + joined(missing, ", ") +
                 "; run fgdm build BUNDLE --target tensorrt here";
  if (!problems.empty())
    message += ". Plans that were left aside:\n  " + joined(problems, "\n  ");
  throw BackendError(message);
}

LoadedPlans open_plans(const Bundle& bundle, const std::filesystem::path& library,
                       const std::string& precision, int device, void* stream) {
  if (tensorrt_headers().empty())
    open_tensorrt(library);  // throws, with what to do
  LoadedPlans loaded;
  auto gpu = std::make_shared<cuda::Gpu>(cuda::driver(), device);
  auto runtime = open_tensorrt(library);
  auto plans = fitting_plans(
      bundle.manifest(), find_plans(*bundle.files(), bundle.manifest(), target, loaded.problems),
      {gpu->architecture(), runtime->version()}, loaded.problems);
  loaded.precision = plans.front().precision;
  check_precision(precision, loaded.precision, "plans");
  if (std::ranges::any_of(plans, &Plan::uses_plugin))
    runtime->load_plugin(find_plugin());
  loaded.backend = std::make_unique<TensorRtBackend>(
      gpu, std::move(runtime), bundle.files(), std::move(plans), static_cast<cuda::Stream>(stream));
  loaded.device = rows_on(std::move(gpu), loaded.backend->stream(), loaded.problems);
  return loaded;
}

}  // namespace fgdm
