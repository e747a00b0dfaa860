#pragma once

// Inputs and outputs of the kernels for pictures, shared by the tests on the CPU and on a card.

#include <cstddef>
#include <vector>

namespace fgdm::kernels::test {

struct PictureCase {
  int height, width;
  std::vector<float> planes;            // finite, some beyond [-1, 1], some halfway between levels
  std::vector<unsigned char> original;  // (height, width, 3)
  std::vector<unsigned char> anew;      // (height, width)
  std::vector<unsigned char> core;      // what the core makes of `planes`
  std::vector<unsigned char> composed;  // the same, with the original where `anew` is 0
  std::vector<float> unit, centred;     // the original as planes, in float64 rounded once

  std::size_t pixels() const { return anew.size(); }
};

PictureCase picture_case(int height, int width, unsigned seed);

}  // namespace fgdm::kernels::test
