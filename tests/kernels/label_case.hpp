#pragma once

// Inputs and outputs of decode_labels, shared by the tests on the CPU and on a card.

#include <string>
#include <vector>

#include "fgdm/kernels.h"

namespace fgdm::kernels::test {

struct LabelCase {
  fgdm_labels_shape shape;
  std::vector<float> images;
  std::vector<unsigned char> palette;
  std::vector<unsigned char> requested;
};

struct LabelResult {
  std::vector<unsigned char> labels;
  std::vector<int> areas;
  std::vector<fgdm_map_recall> recall;
};

// A palette of random distinct colours; images of flat patches of them, each off by up to a little
// more than the tolerance, some values beyond [-1, 1], some NaN.
LabelCase label_case(int classes, fgdm_decode_rule rule, int maps, int height, int width,
                     unsigned seed);

LabelResult empty_result(const LabelCase& given);
LabelResult reference_result(const LabelCase& given);
LabelResult core_result(const LabelCase& given);  // fgdm::decode_labels and fgdm::measure

// What differs, or "".
std::string difference(const LabelResult& given, const LabelResult& expected);

}  // namespace fgdm::kernels::test
