#include "decode_labels.hpp"

#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include "device.hpp"
#include "device_thread.cuh"
#include "labels_plan.hpp"
#include "vectors.cuh"

namespace fgdm::kernels {

namespace {

template <typename T> struct Pixels {
  const T* map;
  int pixels;

  __device__ float operator()(int channel, int pixel) const {
    return to_float(map[static_cast<std::int64_t>(channel) * pixels + pixel]);
  }
};

template <typename T>
__global__ void __launch_bounds__(32 * label_warps)
    decode_labels_kernel(const T* images, const __grid_constant__ LabelsArguments arguments) {
  extern __shared__ Vector16 shared_memory[];
  DeviceThread thread{reinterpret_cast<unsigned char*>(shared_memory)};
  const T* map = images + static_cast<std::int64_t>(blockIdx.y) * 3 * arguments.pixels;
  LabelsThread<DeviceThread, Pixels<T>>{thread, arguments, {map, arguments.pixels}}.run();
}

}  // namespace

}  // namespace fgdm::kernels

int fgdm_decode_labels(const fgdm_labels_shape* shape, const void* images,
                       const unsigned char* palette, const unsigned char* requested,
                       unsigned char* labels, int* areas, fgdm_map_recall* recall,
                       fgdm_stream stream) {
  using namespace fgdm::kernels;
  if (fgdm_decode_labels_check(shape) != nullptr || !is_aligned(images) || palette == nullptr ||
      requested == nullptr || labels == nullptr || areas == nullptr || recall == nullptr)
    return cudaErrorInvalidValue;
  const auto maps = static_cast<std::size_t>(shape->maps);
  const auto classes = static_cast<std::size_t>(shape->classes);
  cudaError_t error = cudaMemsetAsync(areas, 0, maps * classes * sizeof(int), stream);
  if (error == cudaSuccess)
    error = cudaMemsetAsync(recall, 0, maps * sizeof(fgdm_map_recall), stream);
  if (error != cudaSuccess)
    return forgotten(error);
  const LabelsPlan plan = plan_labels(*shape);
  const LabelsArguments arguments =
      labels_arguments(*shape, plan, {palette, requested, labels, areas, recall});
  const dim3 grid(plan.grid.x, plan.grid.y);
  const auto threads = static_cast<unsigned>(32 * plan.warps);
  const auto bytes = static_cast<std::size_t>(plan.shared_bytes);
  if (shape->dtype == FGDM_FLOAT16)
    decode_labels_kernel<<<grid, threads, bytes, stream>>>(static_cast<const __half*>(images),
                                                           arguments);
  else
    decode_labels_kernel<<<grid, threads, bytes, stream>>>(static_cast<const float*>(images),
                                                           arguments);
  return cudaGetLastError();
}
