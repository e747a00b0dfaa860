#include "fgdm/ort_session.hpp"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <utility>

#include "fgdm/error.hpp"
#include "library.hpp"
#include "ort_handle.hpp"
#include "plugins.hpp"
#include "provider_options.hpp"

namespace fgdm {
namespace {

constexpr std::array<std::pair<Provider, std::string_view>, 5> provider_names{
    {{Provider::cuda, "cuda"},
     {Provider::openvino, "openvino"},
     {Provider::cpu, "cpu"},
     {Provider::tensorrt_rtx, "tensorrt-rtx"},
     {Provider::webgpu, "webgpu"}}};

// As the library calls those that it was built with.
constexpr std::array<std::pair<Provider, std::string_view>, 3> built_in_names{
    {{Provider::cuda, "CUDAExecutionProvider"},
     {Provider::openvino, "OpenVINOExecutionProvider"},
     {Provider::cpu, "CPUExecutionProvider"}}};

constexpr std::array<std::pair<DType, int>, 7> element_types{
    {{DType::float32, ort::element_float},
     {DType::float16, ort::element_float16},
     {DType::bfloat16, ort::element_bfloat16},
     {DType::int64, ort::element_int64},
     {DType::int32, ort::element_int32},
     {DType::uint8, ort::element_uint8},
     {DType::boolean, ort::element_bool}}};

std::string_view built_in_name(Provider provider) {
  const auto found =
      std::ranges::find(built_in_names, provider, [](const auto& item) { return item.first; });
  return found == built_in_names.end() ? std::string_view() : found->second;
}

int element_type(DType dtype) {
  return element_types[static_cast<std::size_t>(dtype)].second;
}

DType dtype_of(int element, const std::string& name) {
  for (const auto& [dtype, code] : element_types)
    if (code == element)
      return dtype;
  throw BackendError("graph tensor " + name + " has ONNX element type " + std::to_string(element) +
                     ", which fgdm does not use; export the bundle again");
}

using ort::check;
using ort::environment_mutex;
using ort::Handle;
using ort::Table;

using MemoryHandle = Handle<ort::MemoryInfo, ort::ReleaseMemoryInfo>;

MemoryHandle cpu_memory(const Table& api) {
  MemoryHandle memory(api);
  check(api,
        api.call<ort::CreateCpuMemoryInfo>(ort::arena_allocator, ort::memory_type_default,
                                           memory.out()),
        "describing CPU memory");
  return memory;
}

class OrtSession final : public Session {
public:
  OrtSession(std::shared_ptr<OrtRuntime> runtime, const Table& api, const ort::Env* env,
             const std::filesystem::path& graph, const ort::SessionOptions* options, int device)
      : runtime_(std::move(runtime)), api_(api), name_(graph.filename().string()), device_(device),
        session_(api), memory_(cpu_memory(api)), gpu_memory_(api) {
    {
      const std::lock_guard lock(environment_mutex());
      check(api_, api_.call<ort::CreateSession>(env, graph.c_str(), options, session_.out()),
            "loading " + graph.string());
    }
    inputs_ =
        specs<ort::SessionGetInputCount, ort::SessionGetInputName, ort::SessionGetInputTypeInfo>();
    outputs_ = specs<ort::SessionGetOutputCount, ort::SessionGetOutputName,
                     ort::SessionGetOutputTypeInfo>();
  }

  std::span<const TensorSpec> inputs() const override { return inputs_; }
  std::span<const TensorSpec> outputs() const override { return outputs_; }

  void run(std::span<const NamedTensor> inputs, std::span<const NamedTensor> outputs) override {
    std::vector<ValueHandle> values;
    values.reserve(inputs.size() + outputs.size());
    std::vector<const char*> input_names, output_names;
    std::vector<const ort::Value*> input_values;
    std::vector<ort::Value*> output_values;
    for (const auto& named : inputs) {
      if (!declares(inputs_, named.name))
        continue;  // unused inputs may have been pruned
      input_values.push_back(wrap(named, values));
      input_names.push_back(named.name.data());
    }
    for (const auto& named : outputs) {
      output_values.push_back(wrap(named, values));
      output_names.push_back(named.name.data());
    }
    check(api_,
          api_.call<ort::Run>(session_.get(), static_cast<const ort::RunOptions*>(nullptr),
                              input_names.data(), input_values.data(), input_values.size(),
                              output_names.data(), output_names.size(), output_values.data()),
          "running " + name_);
  }

private:
  using ValueHandle = Handle<ort::Value, ort::ReleaseValue>;

  static bool declares(std::span<const TensorSpec> specs, std::string_view name) {
    for (const auto& spec : specs)
      if (spec.name == name)
        return true;
    return false;
  }

  const ort::MemoryInfo* memory_of(Place place) {
    if (place == Place::host)
      return memory_.get();
    if (gpu_memory_.get() == nullptr)
      check(api_,
            api_.call<ort::CreateMemoryInfo>("Cuda", ort::device_allocator, device_,
                                             ort::memory_type_default, gpu_memory_.out()),
            "describing GPU memory");
    return gpu_memory_.get();
  }

  ort::Value* wrap(const NamedTensor& named, std::vector<ValueHandle>& values) {
    const auto& tensor = named.tensor;
    auto& handle = values.emplace_back(api_);
    check(api_,
          api_.call<ort::CreateTensorWithData>(memory_of(tensor.place), tensor.data, tensor.bytes(),
                                               tensor.shape.data(), tensor.shape.size(),
                                               element_type(tensor.dtype), handle.out()),
          "binding " + std::string(named.name) + " of " + name_);
    return handle.get();
  }

  template <typename Count, typename Name, typename Type> std::vector<TensorSpec> specs() {
    std::size_t count = 0;
    check(api_, api_.call<Count>(session_.get(), &count), name_);
    ort::Allocator* allocator = nullptr;
    check(api_, api_.call<ort::GetDefaultAllocator>(&allocator), name_);
    std::vector<TensorSpec> found(count);
    for (std::size_t i = 0; i < count; ++i) {
      char* text = nullptr;
      check(api_, api_.call<Name>(session_.get(), i, allocator, &text), name_);
      found[i].name = text;
      check(api_, api_.call<ort::AllocatorFree>(allocator, static_cast<void*>(text)), name_);
      Handle<ort::TypeInfo, ort::ReleaseTypeInfo> type(api_);
      check(api_, api_.call<Type>(session_.get(), i, type.out()), name_);
      const ort::TensorInfo* info = nullptr;  // owned by `type`
      check(api_, api_.call<ort::CastTypeInfoToTensorInfo>(type.get(), &info), name_);
      int element = 0;
      check(api_, api_.call<ort::GetTensorElementType>(info, &element), name_);
      found[i].dtype = dtype_of(element, found[i].name);
      std::size_t rank = 0;
      check(api_, api_.call<ort::GetDimensionsCount>(info, &rank), name_);
      found[i].shape.resize(rank);
      check(api_, api_.call<ort::GetDimensions>(info, found[i].shape.data(), rank), name_);
    }
    return found;
  }

  std::shared_ptr<OrtRuntime> runtime_;  // keeps the library's environment alive
  Table api_;
  std::string name_;
  int device_;  // the GPU whose memory Place::device means
  Handle<ort::Session, ort::ReleaseSession> session_;
  MemoryHandle memory_, gpu_memory_;
  std::vector<TensorSpec> inputs_, outputs_;
};

// A started environment.
Handle<ort::Env, ort::ReleaseEnv> started(const Table& api) {
  Handle<ort::Env, ort::ReleaseEnv> environment(api);
  check(api, api.call<ort::CreateEnv>(ort::logging_level_error, "fgdm", environment.out()),
        "starting ONNX Runtime");
  return environment;
}

class Runtime final : public OrtRuntime {
public:
  Runtime(const Table& api, const ort::ApiBase& library, int threads,
          std::span<const std::filesystem::path> plugins)
      : api_(api), version_(library.get_version_string()), threads_(threads), env_(started(api)),
        built_in_(list_built_in()), plugins_(library, env_.get(), plugins) {
    share_arena();
  }

  std::string version() const override { return version_; }

  std::vector<Provider> providers() const override {
    std::vector<Provider> found;
    for (const auto& [provider, name] : provider_names)
      if (built_in(provider) || plugins_.offers(provider))
        found.push_back(provider);
    return found;
  }

  bool built_in(Provider provider) const override {
    return std::ranges::find(built_in_, provider) != built_in_.end();
  }

  std::vector<OrtDevice> devices() const override { return plugins_.devices(); }

  std::vector<std::string> plugin_problems() const override { return plugins_.problems(); }

  std::string plugin_name(Provider provider) const override {
    return built_in(provider) ? "" : plugins_.name(provider);
  }

  OrtTarget target(Provider provider, const OrtLoadOptions& wanted) const override {
    const bool own = built_in(provider);
    return {own ? std::string(built_in_name(provider)) : plugins_.name(provider),
            own ? "" : plugins_.device(provider, wanted.device),
            ort::provider_options(provider, own, wanted, 0)};
  }

  std::unique_ptr<Session> load(const std::filesystem::path& graph, Provider provider,
                                const OrtLoadOptions& wanted) override {
    Handle<ort::SessionOptions, ort::ReleaseSessionOptions> options(api_);
    check(api_, api_.call<ort::CreateSessionOptions>(options.out()), "session options");
    use_own_threads(options.get());
    check(api_,
          api_.call<ort::SetGraphOptimizationLevel>(options.get(), ort::graph_optimization_all),
          "session options");
    if (provider != Provider::cuda)
      use_shared_arena(options.get());
    if (wanted.low_memory) {
      keep_weights_packed(options.get());
      // A plan of a call's tensors is one block more, beside what the first call took one by one.
      check(api_, api_.call<ort::DisableMemPattern>(options.get()), "session options");
    }
    if (!wanted.context.empty())
      write_context(options.get(), wanted.context);
    const auto own = ort::provider_options(provider, built_in(provider), wanted, threads_);
    if (provider != Provider::cpu && !built_in(provider)) {
      plugins_.append(options.get(), provider, wanted.device, own);
    } else if (provider == Provider::openvino) {
      ort::append_openvino(api_, options.get(), own);
    } else if (provider == Provider::cuda) {
      ort::append_cuda(api_, options.get(), own);
      register_ops(options.get());
    }
    return std::make_unique<OrtSession>(shared_from_this(), api_, env_.get(), graph, options.get(),
                                        wanted.device);
  }

private:
  std::vector<Provider> list_built_in() const {
    char** names = nullptr;
    int count = 0;
    check(api_, api_.call<ort::GetAvailableProviders>(&names, &count), "listing providers");
    std::vector<Provider> found;
    for (const auto& [provider, name] : built_in_names)
      for (int i = 0; i < count; ++i)
        if (name == names[i])
          found.push_back(provider);
    check(api_, api_.call<ort::ReleaseAvailableProviders>(names, count), "listing providers");
    return found;
  }

  // Every session has a pool of its own: the environment's would be one for the whole process, with
  // as many threads as the first engine asked for, and a forked child would find it dead. An
  // engine's graphs run one after the other, so a pool rests as soon as its graph has ended.
  void use_own_threads(ort::SessionOptions* options) const {
    check(api_, api_.call<ort::SetIntraOpNumThreads>(options, threads_), "threads");
    check(api_, api_.call<ort::SetInterOpNumThreads>(options, 1), "threads");
    check(api_, api_.call<ort::AddSessionConfigEntry>(options, "session.force_spinning_stop", "1"),
          "threads");
  }

  // Graphs run one after the other, so one arena holds the largest one's intermediate tensors
  // instead of every graph's. It grows by what is asked for, not to the next power of two.
  void share_arena() {
    const auto memory = cpu_memory(api_);
    const std::array<const char*, 1> keys{"arena_extend_strategy"};
    const std::array<std::size_t, 1> values{ort::extend_as_requested};
    Handle<ort::ArenaConfig, ort::ReleaseArenaConfig> arena(api_);
    check(api_,
          api_.call<ort::CreateArenaConfig>(keys.data(), values.data(), keys.size(), arena.out()),
          "describing the arena");
    const std::lock_guard lock(environment_mutex());
    ort::Status* status = api_.call<ort::CreateAndRegisterAllocator>(
        env_.get(), static_cast<const ort::MemoryInfo*>(memory.get()),
        static_cast<const ort::ArenaConfig*>(arena.get()));
    // Engines share the environment. Old runtimes (1.21) refuse a second arena, and the first
    // serves both; newer ones replace it, and sessions keep the one they began with.
    if (status != nullptr &&
        std::string_view(api_.call<ort::GetErrorMessage>(status)).find("already been registered") !=
            std::string_view::npos)
      return api_.call<ort::ReleaseStatus>(status);
    check(api_, status, "making the arena");
  }

  // Weights are kept out of the arena: they leave with their graph.
  void use_shared_arena(ort::SessionOptions* options) const {
    for (const char* key :
         {"session.use_env_allocators", "session.use_device_allocator_for_initializers"})
      check(api_, api_.call<ort::AddSessionConfigEntry>(options, key, "1"), "session options");
  }

  // A float16 weight whose float32 would take more than this stays what its file has, mapped, and
  // is cast when it is used, which then costs far less than the products with it. Smaller ones are
  // those of the large resolutions, where the time goes: folded and packed for speed.
  void keep_weights_packed(ort::SessionOptions* options) const {
    if (ort::minor_version(version_) < 27)
      throw BackendError("memory \"low\" needs ONNX Runtime 1.27 or newer, and this is " +
                         version_);
    for (const auto& [key, value] :
         {std::pair("optimization.constant_folding_max_output_size_in_bytes", "4000000"),
          std::pair("optimization.disable_specified_optimizers",
                    "FuseFp16InitializerToFp32NodeTransformer")})
      check(api_, api_.call<ort::AddSessionConfigEntry>(options, key, value), "session options");
  }

  // By the session that compiles the graph anyhow, in place of the interface that compiles alone:
  // what is compiled is run, and old runtimes do it too.
  void write_context(ort::SessionOptions* options, const std::filesystem::path& model) const {
    for (const auto& [key, value] :
         {std::pair("ep.context_enable", "1"), std::pair("ep.context_file_path", model.c_str()),
          std::pair("ep.context_embed_mode", "0")})  // embedded, it can't have 2 GB
      check(api_, api_.call<ort::AddSessionConfigEntry>(options, key, value), "session options");
  }

  // The op's fused kernel, where its library lies beside the core. A registered op takes the place
  // of the model's own function; without it the function's standard ops run.
  void register_ops(ort::SessionOptions* options) const {
    const auto library = core_folder() / "libfgdm_ort_ops.so";
    if (std::filesystem::is_regular_file(library))
      check(api_, api_.call<ort::RegisterCustomOpsLibrary>(options, library.c_str()),
            "registering " + library.string());
  }

  Table api_;
  std::string version_;
  int threads_;
  Handle<ort::Env, ort::ReleaseEnv> env_;
  std::vector<Provider> built_in_;
  ort::Plugins plugins_;
};

// ONNX Runtime 1.31's wheels for Linux report to their maker: a thread that begins with the
// library, a device number in the user's cache, uploads. A guest in somebody's process doesn't ask
// for that, and the thread, which a forked child lacks, makes the child hang when it exits. Who
// wants it sets the variable to 0.
void disable_telemetry() {
  static const bool once = [] {
    ::setenv("ORT_DISABLE_TELEMETRY", "1", 0);
    return true;
  }();
  static_cast<void>(once);
}

}  // namespace

std::string_view provider_name(Provider provider) {
  for (const auto& [candidate, name] : provider_names)
    if (candidate == provider)
      return name;
  return "unknown";
}

std::shared_ptr<OrtRuntime> OrtRuntime::open(const std::filesystem::path& library, int threads,
                                             std::span<const std::filesystem::path> plugins) {
  disable_telemetry();
  const auto named = library.empty() ? environment("FGDM_ONNXRUNTIME") : library.string();
  const auto names = named.empty()
                         ? std::vector<std::string>{"libonnxruntime.so.1", "libonnxruntime.so"}
                         : std::vector<std::string>{named};
  void* const handle = open_library(
      names, "ONNX Runtime could not be opened; install it (pip install onnxruntime) or give the "
             "path of libonnxruntime.so as `library` or in FGDM_ONNXRUNTIME.");
  const auto get_base = reinterpret_cast<ort::GetApiBase>(find_symbol(
      handle, "OrtGetApiBase", named + " is not an ONNX Runtime library: it has no OrtGetApiBase"));
  const ort::ApiBase* base = get_base();
  const std::string version = base->get_version_string();
  const void* const* functions = base->get_api(ort::api_version);
  if (functions == nullptr)
    throw BackendError("ONNX Runtime " + version + " is too old: fgdm needs 1.21 or newer");
  return std::make_shared<Runtime>(Table(functions), *base, threads, plugins);
}

}  // namespace fgdm
