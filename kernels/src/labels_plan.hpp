#pragma once

#include "decode_labels.hpp"

namespace fgdm::kernels {

struct LabelsPlan {
  Index3 grid;
  int warps;
  int shared_bytes;
};

LabelsPlan plan_labels(const fgdm_labels_shape& shape);

LabelsArguments labels_arguments(const fgdm_labels_shape& shape, const LabelsPlan& plan,
                                 const LabelsPointers& pointers);

}  // namespace fgdm::kernels
