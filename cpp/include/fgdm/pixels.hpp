#pragma once

#include <cstdint>
#include <vector>

#include "fgdm/api.h"

namespace fgdm {

// 8-bit pixels, row-major: (height, width, 3) colours or (height, width) labels.
struct FGDM_API Pixels {
  int height = 0, width = 0;
  std::vector<std::uint8_t> data;
};

}  // namespace fgdm
