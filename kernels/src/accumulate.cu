// Bound by memory: one pass, every number read once and the sum written once.

#include <cuda_runtime.h>

#include "device.hpp"
#include "vectors.cuh"

namespace fgdm::kernels {

namespace {

constexpr int threads = 256;
constexpr int width = 4;
constexpr long long max_elements = 1LL << 40;  // well within a grid of one dimension

template <typename T>
__global__ void __launch_bounds__(threads)
    accumulate_kernel(long long elements, T* __restrict__ total, const T* __restrict__ term) {
  const long long first = width * (static_cast<long long>(blockIdx.x) * blockDim.x + threadIdx.x);
  if (first + width <= elements) {
    auto sum = load<width>(total + first);
    const auto added = load<width>(term + first);
#pragma unroll
    for (int i = 0; i < width; ++i)
      sum.at[i] += added.at[i];
    store<width>(total + first, sum);
    return;
  }
  for (long long i = first; i < elements; ++i)
    total[i] = from_float<T>(to_float(total[i]) + to_float(term[i]));
}

}  // namespace

}  // namespace fgdm::kernels

int fgdm_accumulate(fgdm_dtype dtype, long long elements, void* total, const void* term,
                    fgdm_stream stream) {
  using namespace fgdm::kernels;
  if (elements < 1 || elements > max_elements || !is_aligned(total) || !is_aligned(term) ||
      (dtype != FGDM_FLOAT32 && dtype != FGDM_FLOAT16 && dtype != FGDM_BFLOAT16))
    return cudaErrorInvalidValue;
  const long long per_block = static_cast<long long>(threads) * width;
  const auto blocks = static_cast<unsigned>((elements + per_block - 1) / per_block);
  return with_device_type(dtype, [&](auto type) {
    using T = decltype(type);
    accumulate_kernel<<<blocks, threads, 0, stream>>>(elements, static_cast<T*>(total),
                                                      static_cast<const T*>(term));
    return cudaGetLastError();
  });
}
