#include "picture_case.hpp"

#include <random>

#include "fgdm/palette.hpp"

namespace fgdm::kernels::test {

PictureCase picture_case(int height, int width, unsigned seed) {
  const auto pixels = static_cast<std::size_t>(height) * static_cast<std::size_t>(width);
  PictureCase made{height, width, {}, {}, {}, {}, {}, {}, {}};
  std::mt19937 random(seed);
  std::uniform_int_distribution<int> quarter(-40, 4 * 265), byte(0, 255), coin(0, 1);
  for (std::size_t i = 0; i < 3 * pixels; ++i) {
    made.planes.push_back(static_cast<float>(quarter(random)) / 4.0F / 127.5F - 1.0F);
    made.original.push_back(static_cast<unsigned char>(byte(random)));
  }
  for (std::size_t i = 0; i < pixels; ++i)
    made.anew.push_back(static_cast<unsigned char>(coin(random)));
  made.core.resize(3 * pixels);
  image_to_rgb(made.planes, height, width, made.core);
  made.composed = made.core;
  made.unit.resize(3 * pixels);
  made.centred.resize(3 * pixels);
  for (std::size_t i = 0; i < 3 * pixels; ++i) {
    if (made.anew[i / 3] == 0)
      made.composed[i] = made.original[i];
    const auto at = i % 3 * pixels + i / 3;
    made.unit[at] = static_cast<float>(made.original[i] / 255.0);
    made.centred[at] = static_cast<float>(2.0 * static_cast<double>(made.unit[at]) - 1.0);
  }
  return made;
}

}  // namespace fgdm::kernels::test
