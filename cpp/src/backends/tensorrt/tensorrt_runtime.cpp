#include "tensorrt_runtime.hpp"

#include "fgdm/error.hpp"

#ifdef FGDM_TENSORRT

#include <NvInferRuntime.h>

#include <algorithm>
#include <array>
#include <mutex>
#include <utility>

#include "library.hpp"

// TensorRT's interface is C++: its classes call through tables of virtual functions, which keep
// their order within a major version. So the headers decide which library can be opened.
#define FGDM_VERSION_IS_AT_LEAST(major, minor)                                                     \
  (NV_TENSORRT_MAJOR * 100 + NV_TENSORRT_MINOR >= (major) * 100 + (minor))

namespace fgdm {
namespace {

// What TensorRT complained of during a call, for the exception that follows. TensorRT keeps one
// logger for the process, so there is one, which outlives every engine.
class Log final : public nvinfer1::ILogger {
public:
  static Log& shared() {
    static auto* const log = new Log;
    return *log;
  }

  void log(Severity severity, const char* message) noexcept override {
    if (severity > Severity::kERROR)
      return;
    try {
      const std::scoped_lock lock(mutex_);
      errors_ += (errors_.empty() ? "" : "; ") + std::string(message);
    } catch (const std::exception&) {
      // A message is lost when there is no memory for it.
    }
  }

  // Makes a call, answers what it answers, and throws with all that it logged if that is false or
  // null.
  template <typename Call> auto checked(const std::string& what, Call call) {
    {
      const std::scoped_lock lock(mutex_);
      errors_.clear();  // of earlier calls, which were survived
    }
    auto answer = call();
    if (answer)
      return answer;
    const std::scoped_lock lock(mutex_);
    const auto reason =
        what + ": " + (errors_.empty() ? "TensorRT gave no reason" : std::exchange(errors_, {}));
    for (const char* sign : {"out of memory", "OutOfMemory", "OUT_OF_MEMORY"})
      if (reason.find(sign) != std::string::npos)
        throw OutOfMemoryError(reason + "; ask for fewer candidates or a smaller picture, or build "
                                        "plans with --share-weights");
    throw BackendError(reason);
  }

private:
  std::mutex mutex_;
  std::string errors_;
};

template <typename Call> auto checked(const std::string& what, Call call) {
  return Log::shared().checked(what, call);
}

DType dtype_of(nvinfer1::DataType type, const std::string& name) {
  switch (type) {
  case nvinfer1::DataType::kFLOAT:
    return DType::float32;
  case nvinfer1::DataType::kHALF:
    return DType::float16;
  case nvinfer1::DataType::kINT32:
    return DType::int32;
  case nvinfer1::DataType::kBOOL:
    return DType::boolean;
  case nvinfer1::DataType::kUINT8:
    return DType::uint8;
#if NV_TENSORRT_MAJOR >= 10
  case nvinfer1::DataType::kBF16:
    return DType::bfloat16;
  case nvinfer1::DataType::kINT64:
    return DType::int64;
#endif
  default:
    throw BackendError("a plan's tensor " + name + " has TensorRT type " +
                       std::to_string(static_cast<int>(type)) + ", which fgdm does not use");
  }
}

class ExecutionContext final : public PlanContext {
public:
  ExecutionContext(nvinfer1::ICudaEngine& engine, std::size_t profile, cuda::Stream stream)
      : scratch_bytes_(scratch_of(engine, profile)),
        context_(checked("creating an execution context", [&] {
#if NV_TENSORRT_MAJOR >= 10
          return engine.createExecutionContext(
              nvinfer1::ExecutionContextAllocationStrategy::kUSER_MANAGED);
#else
          return engine.createExecutionContextWithoutDeviceMemory();
#endif
        })) {
    const auto index = static_cast<std::int32_t>(profile);
    checked("choosing optimization profile " + std::to_string(profile),
            [&] { return context_->setOptimizationProfileAsync(index, stream); });
    for (std::int32_t i = 0; i < engine.getNbIOTensors(); ++i) {
      const char* name = engine.getIOTensorName(i);
      if (engine.getTensorIOMode(name) == nvinfer1::TensorIOMode::kINPUT) {
        const auto shape = engine.getProfileShape(name, index, nvinfer1::OptProfileSelector::kMAX);
        checked(std::string("setting the shape of ") + name,
                [&] { return context_->setInputShape(name, shape); });
      }
    }
  }

  std::size_t scratch_bytes() const override { return scratch_bytes_; }

  void use_scratch(std::byte* device_memory, std::size_t bytes) override {
#if FGDM_VERSION_IS_AT_LEAST(10, 1)
    context_->setDeviceMemoryV2(device_memory, static_cast<std::int64_t>(bytes));
#else
    static_cast<void>(bytes);
    context_->setDeviceMemory(device_memory);
#endif
  }

  void bind(const std::string& tensor, std::byte* device_memory) override {
    checked("binding " + tensor,
            [&] { return context_->setTensorAddress(tensor.c_str(), device_memory); });
  }

  void enqueue(cuda::Stream stream) override {
    checked("running a plan", [&] { return context_->enqueueV3(stream); });
  }

private:
  static std::size_t scratch_of(const nvinfer1::ICudaEngine& engine, std::size_t profile) {
#if FGDM_VERSION_IS_AT_LEAST(10, 1)
    return static_cast<std::size_t>(
        engine.getDeviceMemorySizeForProfileV2(static_cast<std::int32_t>(profile)));
#elif NV_TENSORRT_MAJOR >= 10
    return engine.getDeviceMemorySizeForProfile(static_cast<std::int32_t>(profile));
#else
    static_cast<void>(profile);
    return engine.getDeviceMemorySize();  // of all profiles
#endif
  }

  std::size_t scratch_bytes_;
  std::unique_ptr<nvinfer1::IExecutionContext> context_;
};

class Engine final : public PlanEngine {
public:
  Engine(std::unique_ptr<nvinfer1::ICudaEngine> engine, std::shared_ptr<PlanRuntime> runtime)
      : runtime_(std::move(runtime)), engine_(std::move(engine)) {}

  std::vector<EngineTensor> tensors(std::size_t profile) const override {
    std::vector<EngineTensor> found;
    for (std::int32_t i = 0; i < engine_->getNbIOTensors(); ++i) {
      const char* name = engine_->getIOTensorName(i);
      const bool is_input = engine_->getTensorIOMode(name) == nvinfer1::TensorIOMode::kINPUT;
      // An output has no profile; its dynamic dimensions are in the plan's metadata.
      const auto dims = is_input
                            ? engine_->getProfileShape(name, static_cast<std::int32_t>(profile),
                                                       nvinfer1::OptProfileSelector::kMAX)
                            : engine_->getTensorShape(name);
      found.push_back({name,
                       dtype_of(engine_->getTensorDataType(name), name),
                       {dims.d, dims.d + std::max(dims.nbDims, 0)},
                       is_input});
    }
    return found;
  }

  std::unique_ptr<PlanContext> make_context(std::size_t profile, cuda::Stream stream) override {
    return std::make_unique<ExecutionContext>(*engine_, profile, stream);
  }

private:
  std::shared_ptr<PlanRuntime> runtime_;  // must outlive its engines
  std::unique_ptr<nvinfer1::ICudaEngine> engine_;
};

class Runtime final : public PlanRuntime, public std::enable_shared_from_this<Runtime> {
public:
  Runtime(void* library, std::string version) : library_(library), version_(std::move(version)) {
    using Create = void* (*)(void* logger, std::int32_t version) noexcept;
    const auto create = symbol<Create>("createInferRuntime_INTERNAL");
    auto* const logger = static_cast<nvinfer1::ILogger*>(&Log::shared());
    runtime_.reset(checked("starting TensorRT " + version_, [&] {
      return static_cast<nvinfer1::IRuntime*>(create(logger, NV_TENSORRT_VERSION));
    }));
  }

  std::string version() const override { return version_; }

  void load_plugin(const std::filesystem::path& library) override {
    using GetRegistry = nvinfer1::IPluginRegistry* (*)() noexcept;
    auto* const registry = symbol<GetRegistry>("getPluginRegistry")();
    // The registry is the process's, and refuses what it knows: an engine before this one, or the
    // program itself, may have loaded the plugin.
    static std::mutex loading;
    const std::scoped_lock lock(loading);
#if NV_TENSORRT_MAJOR >= 10
    const bool known = registry->getCreator("SegFreeAttention", "1", "fgdm") != nullptr;
#else
    const bool known = registry->getPluginCreator("SegFreeAttention", "1", "fgdm") != nullptr;
#endif
    if (known)
      return;
#if FGDM_VERSION_IS_AT_LEAST(8, 6)
    checked("TensorRT " + version_ + " can't load the plugin library " + library.string(),
            [&] { return registry->loadLibrary(library.c_str()); });
#else
    open_library(std::array{library.string()},  // the one that registers itself
                 "the plugin library can't be opened; build it again from kernels/.");
#endif
  }

  std::unique_ptr<PlanEngine> deserialise(std::span<const std::byte> plan) override {
    std::unique_ptr<nvinfer1::ICudaEngine> engine(
        checked("TensorRT " + version_ + " can't load a plan",
                [&] { return runtime_->deserializeCudaEngine(plan.data(), plan.size()); }));
    return std::make_unique<Engine>(std::move(engine), shared_from_this());
  }

private:
  template <typename Function> Function symbol(const char* name) const {
    return reinterpret_cast<Function>(
        find_symbol(library_, name, std::string("the TensorRT library has no ") + name));
  }

  void* library_;
  std::string version_;
  std::unique_ptr<nvinfer1::IRuntime> runtime_;
};

// Since 10.0 a version is major * 10000 + minor * 100 + patch; before, major * 1000.
std::string version_words(int number) {
  const int thousands = number >= 10000 ? 10000 : 1000;
  return std::to_string(number / thousands) + "." + std::to_string(number % thousands / 100) + "." +
         std::to_string(number % 100);
}

}  // namespace

std::string tensorrt_headers() {
  return std::to_string(NV_TENSORRT_MAJOR) + "." + std::to_string(NV_TENSORRT_MINOR);
}

std::shared_ptr<PlanRuntime> open_tensorrt(const std::filesystem::path& library) {
  const auto major = std::to_string(NV_TENSORRT_MAJOR);
  auto name = library.string();
  if (name.empty())
    name = environment("FGDM_TENSORRT");
  if (name.empty())
    name = "libnvinfer.so." + major;
  void* const handle = open_library(
      std::array{name}, "TensorRT " + major +
                            " could not be opened; install it, or give the path of libnvinfer.so." +
                            major + " in FGDM_TENSORRT.");
  using GetVersion = std::int32_t (*)() noexcept;
  const auto get_version = reinterpret_cast<GetVersion>(
      find_symbol(handle, "getInferLibVersion",
                  name + " is not a TensorRT library: it has no getInferLibVersion"));
  const auto number = get_version();
  const auto version = version_words(number);
  // Later minor versions only add functions, at the ends of the tables.
  if (!version.starts_with(major + ".") || number < NV_TENSORRT_VERSION / 100 * 100)
    throw BackendError(name + " is TensorRT " + version +
                       ", but fgdm was built with the headers of " + tensorrt_headers() +
                       "; install that or a later " + major + ".x, or build fgdm with its headers");
  return std::make_shared<Runtime>(handle, version);
}

}  // namespace fgdm

#else

namespace fgdm {

std::string tensorrt_headers() {
  return "";
}

std::shared_ptr<PlanRuntime> open_tensorrt(const std::filesystem::path&) {
  throw BackendError(
      "this build of fgdm has no TensorRT backend; build it with TensorRT's headers: pip install . "
      "-C cmake.define.FGDM_TENSORRT_INCLUDE=/path/to/TensorRT/include");
}

}  // namespace fgdm

#endif
