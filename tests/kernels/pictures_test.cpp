// What the kernels for pictures do with each pixel, run on the CPU, against the core's image_to_rgb
// and against float64.

#include "pictures.hpp"

#include <cmath>
#include <limits>
#include <vector>

#include <gtest/gtest.h>

#include "picture_case.hpp"

namespace fgdm::kernels::test {
namespace {

struct Rounding {
  float round(float value) const { return std::nearbyint(value); }
};

std::vector<unsigned char> painted(const PictureCase& given, bool composed, bool& finite) {
  std::vector<unsigned char> rgb(3 * given.pixels());
  const PictureArguments arguments{static_cast<int>(given.pixels()), given.planes.data(),
                                   composed ? given.original.data() : nullptr,
                                   composed ? given.anew.data() : nullptr, rgb.data()};
  Rounding rounding;
  finite = true;
  for (int pixel = 0; pixel < arguments.pixels; ++pixel)
    finite = paint_pixel(rounding, arguments, pixel) && finite;
  return rgb;
}

// Protects the promise that a picture which stays on the card has the bytes that the host makes.
TEST(Pictures, AreRoundedAsTheCoreDoes) {
  const PictureCase given = picture_case(33, 17, 3);
  bool finite = false;
  EXPECT_EQ(painted(given, false, finite), given.core);
  EXPECT_TRUE(finite);
  EXPECT_EQ(painted(given, true, finite), given.composed);
}

TEST(Pictures, ThatAreNotFiniteAreTold) {
  for (const float bad :
       {std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN()}) {
    PictureCase given = picture_case(8, 8, 4);
    given.planes[2 * 64 + 5] = bad;
    given.anew[5] = 0;  // even where the pixel isn't seen
    bool finite = true;
    painted(given, true, finite);
    EXPECT_FALSE(finite);
  }
}

TEST(Pictures, BecomePlanesOfNumbers) {
  const PictureCase given = picture_case(16, 19, 5);
  for (const bool centred : {false, true}) {
    std::vector<float> planes(3 * given.pixels());
    for (int pixel = 0; pixel < static_cast<int>(given.pixels()); ++pixel)
      spread_pixel(static_cast<int>(given.pixels()), centred, given.original.data(), planes.data(),
                   pixel);
    EXPECT_EQ(planes, centred ? given.centred : given.unit);
  }
}

}  // namespace
}  // namespace fgdm::kernels::test
