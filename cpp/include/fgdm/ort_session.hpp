#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "fgdm/session.hpp"

namespace fgdm {

/// What an ONNX Runtime graph runs on.
enum class Provider { cpu, openvino, cuda };

std::string_view provider_name(Provider provider);

/// ONNX Runtime itself: the opened library, its environment, and one arena for all sessions on the
/// CPU. Every session has a thread pool of its own.
///
/// The library is found at run time, so fgdm has no link-time dependency on it.
class OrtRuntime : public std::enable_shared_from_this<OrtRuntime> {
public:
  /// Opens the library at `library`; if that is empty, the one FGDM_ONNXRUNTIME names, or the one
  /// the system's loader finds. `threads` of each session; 0 lets the runtime choose. Throws
  /// BackendError with what to install if there is none, or if it is older than interface
  /// version 21.
  static std::shared_ptr<OrtRuntime> open(const std::filesystem::path& library, int threads);

  virtual ~OrtRuntime() = default;

  /// Such as "1.31.1".
  virtual std::string version() const = 0;

  /// The providers this library was built with, best first.
  virtual std::vector<Provider> providers() const = 0;

  /// Loads a graph. `bfloat16` asks for bfloat16 arithmetic (OpenVINO only). Throws BackendError.
  virtual std::unique_ptr<Session> load(const std::filesystem::path& graph, Provider provider,
                                        bool bfloat16) = 0;
};

}  // namespace fgdm
