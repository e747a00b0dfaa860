#pragma once

#include "fgdm/kernels.h"

namespace fgdm::cuda {

// fgdm's own kernels that the core launches. A test fills the table with its own.
struct Kernels {
  decltype(&fgdm_guided_step) guided_step;
  decltype(&fgdm_decode_labels) decode_labels;
  decltype(&fgdm_accumulate) accumulate;
  decltype(&fgdm_picture_to_planes) picture_to_planes;
  decltype(&fgdm_planes_to_picture) planes_to_picture;
};

// Those of the library that FGDM_KERNELS names, or of libfgdm_kernels.so beside the core. Throws
// BackendError with what to do if there is none.
const Kernels& kernels();

}  // namespace fgdm::cuda
