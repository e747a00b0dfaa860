#pragma once

#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "fgdm/ort_session.hpp"
#include "ort_api.hpp"

namespace fgdm::ort {

// Execution providers in libraries of their own, which ONNX Runtime 1.23 and later registers at run
// time: of OpenVINO, TensorRT-RTX, WebGPU, CUDA. Each offers devices, and a session is given one.
class Plugins {
public:
  // Registers `libraries` in the environment, which keeps them for all who share it. One that can't
  // be had, or offers no device on this machine, is a problem and no error: others may do.
  // `library` is the opened ONNX Runtime.
  Plugins(const ApiBase& library, Env* environment,
          std::span<const std::filesystem::path> libraries);

  // What every provider of the environment offers, the runtime's own included, in its order. None
  // from a runtime before 1.23.
  std::vector<OrtDevice> devices() const;

  // Whether a plugin offers a device that `provider` would run on.
  bool offers(Provider provider) const;

  // Adds a device of the plugin's to a session's options: of OpenVINO's the processor, of others
  // the GPU number `device`. Throws BackendError if there is none.
  void append(SessionOptions* options, Provider provider, int device,
              const std::map<std::string, std::string>& provider_options) const;

  // The plugin's name and version, such as "OpenVINOExecutionProvider 1.8.1".
  std::string name(Provider provider) const;

  // The device that `append` would add, told apart from others of its kind: "GPU 0x10de:0x2684 …"
  // with the numbers of its maker and model on the bus, and its name if the plugin tells it. ""
  // where there is none.
  std::string device(Provider provider, int device) const;

  // Why libraries are of no use here, one sentence each.
  const std::vector<std::string>& problems() const { return problems_; }

private:
  void add(const std::filesystem::path& library);
  std::span<const EpDevice* const> all() const;
  std::vector<const EpDevice*> of(Provider provider) const;
  OrtDevice describe(const EpDevice* device) const;

  Table api_{nullptr};
  Env* environment_ = nullptr;  // null where the runtime has no plugins
  std::vector<std::string> problems_;
};

}  // namespace fgdm::ort
