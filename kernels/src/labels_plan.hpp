#pragma once

#include "decode_labels.hpp"

namespace fgdm::kernels {

struct LabelsPlan {
  Index3 grid;
  int warps;
  int shared_bytes;
};

LabelsPlan plan_labels(const fgdm_labels_shape& shape);

struct LabelsPointers {
  const unsigned char* palette;
  const unsigned char* requested;
  unsigned char* labels;
  int* areas;
  fgdm_map_recall* recall;
};

LabelsArguments labels_arguments(const fgdm_labels_shape& shape, const LabelsPlan& plan,
                                 const LabelsPointers& pointers);

}  // namespace fgdm::kernels
