// Bound by memory: one pass, a thread a pixel.

#include "pictures.hpp"

#include <cuda_runtime.h>

#include "device.hpp"
#include "fgdm/kernels.h"

namespace fgdm::kernels {

namespace {

constexpr int threads = 256;

struct Rounding {
  __device__ float round(float value) const { return rintf(value); }
};

__global__ void __launch_bounds__(threads)
    picture_to_planes_kernel(int pixels, bool centred, const unsigned char* __restrict__ rgb,
                             float* __restrict__ planes) {
  const int pixel = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  if (pixel < pixels)
    spread_pixel(pixels, centred, rgb, planes, pixel);
}

__global__ void __launch_bounds__(threads)
    planes_to_picture_kernel(const __grid_constant__ PictureArguments arguments, int* nonfinite) {
  const int pixel = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  if (pixel >= arguments.pixels)
    return;
  Rounding rounding;
  if (!paint_pixel(rounding, arguments, pixel))
    *nonfinite = 1;  // whoever writes it writes the same
}

bool is_size(int height, int width) {
  return height >= 1 && height <= most_side && width >= 1 && width <= most_side;
}

unsigned blocks_of(int pixels) {
  return static_cast<unsigned>((pixels + threads - 1) / threads);
}

}  // namespace

}  // namespace fgdm::kernels

int fgdm_picture_to_planes(int height, int width, int centred, const unsigned char* rgb,
                           float* planes, fgdm_stream stream) {
  using namespace fgdm::kernels;
  if (!is_size(height, width) || rgb == nullptr || !is_aligned(planes))
    return cudaErrorInvalidValue;
  const int pixels = height * width;
  picture_to_planes_kernel<<<blocks_of(pixels), threads, 0, stream>>>(pixels, centred != 0, rgb,
                                                                      planes);
  return cudaGetLastError();
}

int fgdm_planes_to_picture(int height, int width, const float* planes,
                           const unsigned char* original, const unsigned char* anew,
                           unsigned char* rgb, int* nonfinite, fgdm_stream stream) {
  using namespace fgdm::kernels;
  if (!is_size(height, width) || !is_aligned(planes) || rgb == nullptr || nonfinite == nullptr ||
      (original == nullptr) != (anew == nullptr))
    return cudaErrorInvalidValue;
  const PictureArguments arguments{height * width, planes, original, anew, rgb};
  planes_to_picture_kernel<<<blocks_of(arguments.pixels), threads, 0, stream>>>(arguments,
                                                                                nonfinite);
  return cudaGetLastError();
}
