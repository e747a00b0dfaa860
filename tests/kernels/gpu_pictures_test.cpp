// The kernels for pictures on a card, against the core and float64.

#include <vector>

#include "gpu_memory.hpp"
#include "picture_case.hpp"

#include "fgdm/kernels.h"

namespace fgdm::kernels::test {
namespace {

class PicturesGpu : public OnDevice {};

// Protects the promise that a picture which stays on the card has the bytes that the host makes.
TEST_F(PicturesGpu, AreTheCores) {
  for (const int width : {512, 37}) {
    const PictureCase given = picture_case(64, width, 3);
    const DeviceArray<float> planes(given.planes);
    const DeviceArray<unsigned char> original(given.original), anew(given.anew);
    const DeviceArray<unsigned char> rgb(std::vector<unsigned char>(3 * given.pixels()));
    const DeviceArray<int> flag(std::vector<int>{0});
    for (const bool composed : {false, true}) {
      expect_success(fgdm_planes_to_picture(given.height, given.width, planes.data(),
                                            composed ? original.data() : nullptr,
                                            composed ? anew.data() : nullptr, rgb.data(),
                                            flag.data(), stream),
                     "fgdm_planes_to_picture");
      expect_success(cudaStreamSynchronize(stream), "the kernel");
      EXPECT_EQ(rgb.read(), composed ? given.composed : given.core);
      EXPECT_EQ(flag.read(), std::vector<int>{0});
    }
    for (const bool centred : {false, true}) {
      expect_success(fgdm_picture_to_planes(given.height, given.width, centred ? 1 : 0,
                                            original.data(), planes.data(), stream),
                     "fgdm_picture_to_planes");
      expect_success(cudaStreamSynchronize(stream), "the kernel");
      EXPECT_EQ(planes.read(), centred ? given.centred : given.unit);
    }
  }
}

}  // namespace
}  // namespace fgdm::kernels::test
