#include "providers.hpp"

#include <algorithm>
#include <array>
#include <iterator>
#include <sstream>
#include <string_view>
#include <thread>

#include "fgdm/error.hpp"
#include "library.hpp"
#include "precision.hpp"
#include "processor.hpp"
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

// A backend of ONNX Runtime's by its name; none: nullptr.
const Backend* find_backend(std::string_view name) {
  const auto found = std::ranges::find_if(
      backends, [&](const Backend& known) { return provider_name(known.provider) == name; });
  return found == backends.end() ? nullptr : &*found;
}

[[noreturn]] void refuse_backend(const std::string& backend) {
  throw RequestError("backend is \"" + backend +
                     "\", expected \"auto\", \"cpu\", \"openvino\", \"cuda\", \"tensorrt\", "
                     "\"tensorrt-rtx\" or \"webgpu\"");
}

}  // namespace

void check_machine(const EngineOptions& options) {
  const auto& backend = options.backend;
  if (backend != "auto" && backend != "tensorrt" && find_backend(backend) == nullptr)
    refuse_backend(backend);
  // A runtime's threads wait actively: with a hundred a processor, opening takes minutes.
  const int processors = std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
  if (options.threads < 0 || options.threads > 8 * processors)
    throw RequestError("threads is " + std::to_string(options.threads) + ", expected 0 to " +
                       std::to_string(8 * processors) + ", eight for each of the " +
                       std::to_string(processors) + " processors here");
  if (options.device < 0)
    throw RequestError("device is " + std::to_string(options.device) + ", expected 0 or more");
  if (options.device != 0 && (backend == "cpu" || backend == "openvino"))
    throw RequestError("device is " + std::to_string(options.device) +
                       ", which chooses a GPU, and backend \"" + backend + "\" uses none");
}

bool uses_gpu(Provider provider) {
  return provider != Provider::cpu && provider != Provider::openvino;
}

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

std::vector<Provider> providers_for(const std::string& backend, const OrtRuntime& runtime) {
  const auto here = runtime.providers();
  if (backend == "auto") {
    std::vector<Provider> tried;
    // Whose graphs are compiled for minutes, or whose arithmetic isn't known, is asked for by name.
    std::ranges::copy_if(here, std::back_inserter(tried), [](Provider provider) {
      return provider != Provider::tensorrt_rtx && provider != Provider::webgpu;
    });
    if (tried.empty())
      throw BackendError(
          "this ONNX Runtime library has none of the providers cpu, openvino and cuda");
    return tried;
  }
  const auto* asked = find_backend(backend);
  if (asked == nullptr)
    refuse_backend(backend);
  if (std::ranges::find(here, asked->provider) != here.end())
    return {asked->provider};
  auto message = "the installed ONNX Runtime " + runtime.version() +
                 " has no provider with a device for backend \"" + backend + "\"; " +
                 asked->how_to_get_it;
  if (const auto problems = runtime.plugin_problems(); !problems.empty())
    message += ". Plugins that can't be used:\n  " + joined(problems, "\n  ");
  throw BackendError(message);
}

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

bool is_of_the_backend(const Error& error) {
  return dynamic_cast<const BackendError*>(&error) != nullptr ||
         dynamic_cast<const OutOfMemoryError*>(&error) != nullptr;
}

bool makes_contexts(Provider provider, const OrtRuntime& runtime) {
  return (provider == Provider::openvino || provider == Provider::tensorrt_rtx) &&
         !runtime.built_in(provider);
}

}  // namespace fgdm
