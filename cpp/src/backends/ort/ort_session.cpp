#include "fgdm/ort_session.hpp"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <utility>

#include "attention.hpp"
#include "attention_op.hpp"
#include "fgdm/error.hpp"
#include "library.hpp"
#include "ort_graph.hpp"
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

constexpr const char* standard_attention = "standard";

std::string_view built_in_name(Provider provider) {
  const auto found =
      std::ranges::find(built_in_names, provider, [](const auto& item) { return item.first; });
  return found == built_in_names.end() ? std::string_view() : found->second;
}

using ort::check;
using ort::environment_mutex;
using ort::Handle;
using ort::Table;

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
        built_in_(list_built_in()), plugins_(library, env_.get(), plugins),
        attention_(api, threads) {
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

  std::string attention(Provider provider, const OrtLoadOptions& wanted) const override {
    if (wanted.own_attention && provider == Provider::cpu)
      return processor_attention();
    const bool cuda = provider == Provider::cuda && built_in(provider);
    return wanted.own_attention && cuda && std::filesystem::is_regular_file(cuda_ops())
               ? "cuda"
               : standard_attention;
  }

  OrtTarget target(Provider provider, const OrtLoadOptions& wanted) const override {
    const bool own = built_in(provider);
    return {own ? std::string(built_in_name(provider)) : plugins_.name(provider),
            own ? "" : plugins_.device(provider, wanted.device),
            ort::provider_options(provider, own, wanted, 0)};
  }

  std::unique_ptr<Session> load(const OrtGraph& graph, Provider provider,
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
    }
    add_attention(options.get(), provider, wanted);
    return ort::load_graph(shared_from_this(), api_, env_.get(), graph, options.get(),
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
    const auto memory = ort::cpu_memory(api_);
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

  static std::filesystem::path cuda_ops() { return core_folder() / "libfgdm_ort_ops.so"; }

  // A registered op takes the place of the model's own function; without it the function's standard
  // ops run.
  void add_attention(ort::SessionOptions* options, Provider provider,
                     const OrtLoadOptions& wanted) const {
    if (attention(provider, wanted) == standard_attention)
      return;
    if (provider == Provider::cpu)
      return attention_.add_to(options);
    const auto library = cuda_ops();
    check(api_, api_.call<ort::RegisterCustomOpsLibrary>(options, library.c_str()),
          "registering " + library.string());
  }

  Table api_;
  std::string version_;
  int threads_;
  Handle<ort::Env, ort::ReleaseEnv> env_;
  std::vector<Provider> built_in_;
  ort::Plugins plugins_;
  ort::AttentionOp attention_;
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

std::string processor_attention() {
  return cpu::attention_kernels().front().name;
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
