#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "device.hpp"
#include "fgdm/bundle.hpp"
#include "tensorrt_session.hpp"

namespace fgdm {

// Whether a bundle has plans for TensorRT at all.
bool has_plans(const Bundle& bundle);

// A bundle's plans on this machine's GPU.
struct LoadedPlans {
  std::unique_ptr<TensorRtBackend> backend;
  std::shared_ptr<Device> device;     // where rows stay between graphs
  std::string precision;              // of the plans, "fp32" or "fp16"
  std::vector<std::string> problems;  // why some plans were left aside, or rows are on the host
};

// Opens the GPU number `device`, TensorRT (see open_tensorrt), fgdm's kernels and, if a plan needs
// it, the op's plugin: the library that FGDM_TENSORRT_PLUGIN names, or libfgdm_tensorrt.so beside
// the core. `precision` is "auto" or what the plans should have. `stream`: the caller's, or
// nullptr. Throws BackendError, or RequestError for an unknown precision, with what to do if no
// plans fit, or if they don't cover what the bundle's chain runs at its own sizes.
LoadedPlans open_plans(const Bundle& bundle, const std::filesystem::path& library,
                       const std::string& precision, int device, void* stream);

// Of `plans`, those that fit `host`; why others don't is added to `problems`. Throws BackendError
// if those that fit don't cover the bundle's chain.
std::vector<Plan> fitting_plans(const Manifest& manifest, std::vector<Plan> plans,
                                const PlanHost& host, std::vector<std::string>& problems);

}  // namespace fgdm
