#pragma once

#include <string>

#include "fgdm/api.h"

namespace fgdm {

// The TensorRT version whose headers this was built with, such as "10.3": the backend "tensorrt"
// opens libraries of that major version. Empty if it was built without; then there is no such
// backend.
FGDM_API std::string tensorrt_headers();

}  // namespace fgdm
