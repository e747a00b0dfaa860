#pragma once

#include <filesystem>
#include <memory>

#include "fgdm/tensorrt.hpp"
#include "plan_engine.hpp"

namespace fgdm {

// Opens TensorRT: the library at `library`; if that is empty, the one FGDM_TENSORRT names, or the
// one the system's loader finds. A GPU must be current. Throws BackendError with what to do if this
// was built without TensorRT's headers, or if there is no library of their major version.
std::shared_ptr<PlanRuntime> open_tensorrt(const std::filesystem::path& library);

}  // namespace fgdm
