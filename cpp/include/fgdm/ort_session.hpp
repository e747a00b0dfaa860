#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "fgdm/api.h"
#include "fgdm/bytes.hpp"
#include "fgdm/session.hpp"

namespace fgdm {

/// What an ONNX Runtime graph runs on.
enum class Provider { cpu, openvino, cuda, tensorrt_rtx, webgpu };

/// As EngineOptions::backend names it.
FGDM_API std::string_view provider_name(Provider provider);

/// A device as an execution provider offers it. `provider` is the runtime's name for that, such as
/// "OpenVINOExecutionProvider"; `version` the plugin's own, `kind` "CPU", "GPU", "NPU" or "other".
/// What a plugin doesn't tell is empty.
struct FGDM_API OrtDevice {
  std::string provider, vendor, version, kind, name;
};

/// A graph to load: a file, which names those that its weights lie in, or a model in memory. All of
/// its bytes are used where they lie, as long as the session is there.
struct FGDM_API OrtGraph {
  std::filesystem::path file;  // empty: in memory
  std::string name = {};       // of a model in memory, for messages
  Bytes model = {};
  std::map<std::string, Bytes> weights = {};  // files that they may lie in, as the model calls them
};

/// How a graph is loaded.
struct FGDM_API OrtLoadOptions {
  bool bfloat16 = false;    // arithmetic (OpenVINO only)
  int device = 0;           // which GPU
  void* stream = nullptr;   // the caller's cudaStream_t, of CUDA; nullptr: the provider's own
  bool low_memory = false;  // large float16 weights stay packed (CPU only, ONNX Runtime 1.27)
  // fgdm::SegFreeAttention by our own kernel: on the CPU, where the graph gives it float32 (others
  // are refused); on CUDA, where libfgdm_ort_ops.so lies beside the core.
  bool own_attention = false;
  // Where the provider's compiled context of the graph is written, an ONNX file in a folder of its
  // own; empty: nowhere. A provider that makes none writes nothing.
  std::filesystem::path context = {};
  // A folder in which TensorRT-RTX keeps the kernels that it compiles for the graph on the card;
  // empty: none.
  std::filesystem::path kernels = {};
};

/// What a provider compiles graphs for: its name with its plugin's version, the device ("" of a
/// provider that the library was built with), and what it is told, by its own options' names; the
/// number of threads is each session's own.
struct FGDM_API OrtTarget {
  std::string provider, device;
  std::map<std::string, std::string> options;
};

/// ONNX Runtime itself: the opened library, its environment, and one arena for all sessions on the
/// CPU. Every session has a thread pool of its own.
///
/// The library is found at run time, so fgdm has no link-time dependency on it.
class FGDM_API OrtRuntime : public std::enable_shared_from_this<OrtRuntime> {
public:
  /// Opens the library at `library`; if that is empty, the one FGDM_ONNXRUNTIME names, or the one
  /// the system's loader finds. `threads` of each session; 0 lets the runtime choose. Throws
  /// BackendError with what to install if there is none, or if it is older than interface
  /// version 21.
  ///
  /// `plugins` are libraries of execution providers, which are registered in the runtime's
  /// environment (ONNX Runtime 1.23 and later). See plugin_problems() for those that can't be.
  static std::shared_ptr<OrtRuntime> open(const std::filesystem::path& library, int threads,
                                          std::span<const std::filesystem::path> plugins = {});

  virtual ~OrtRuntime() = default;

  /// Such as "1.31.1".
  virtual std::string version() const = 0;

  /// The providers this library was built with or has a plugin and a device for; "auto" takes the
  /// first of cuda, openvino and cpu, and the others follow.
  virtual std::vector<Provider> providers() const = 0;

  /// Whether the library was built with it. If so, its plugin isn't used.
  virtual bool built_in(Provider provider) const = 0;

  /// What all providers offer, the library's own included; nothing before ONNX Runtime 1.23.
  virtual std::vector<OrtDevice> devices() const = 0;

  /// Why plugins weren't registered, one sentence each.
  virtual std::vector<std::string> plugin_problems() const = 0;

  /// Name and version of the plugin that serves a provider, "" if none does.
  virtual std::string plugin_name(Provider provider) const = 0;

  /// What fgdm::SegFreeAttention is run by in a graph that is loaded so: the name of our kernel,
  /// such as "avx2" or "cuda", or "standard" for the standard ops of the graph's own function.
  virtual std::string attention(Provider provider, const OrtLoadOptions& options) const = 0;

  /// What a graph that is loaded so would be compiled for.
  virtual OrtTarget target(Provider provider, const OrtLoadOptions& options) const = 0;

  /// Loads a graph, or a compiled context that the same provider wrote. Throws BackendError, and
  /// BundleError where weights of a model in memory lie in none of its files.
  virtual std::unique_ptr<Session> load(const OrtGraph& graph, Provider provider,
                                        const OrtLoadOptions& options = {}) = 0;
  std::unique_ptr<Session> load(const std::filesystem::path& graph, Provider provider,
                                const OrtLoadOptions& options = {}) {
    return load(OrtGraph{graph}, provider, options);
  }
};

/// The kernel for fgdm::SegFreeAttention that this processor gets: "avx512", "avx2", "sse2", "neon"
/// or "plain".
FGDM_API std::string processor_attention();

}  // namespace fgdm
