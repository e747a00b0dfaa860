#pragma once

// Picks the compiled variant of segfree_attention and launches it. Included by one source per kind
// of number, so that they compile side by side.

#include <cuda_runtime.h>

#include "attention_plan.hpp"
#include "device.hpp"
#include "device_thread.cuh"
#include "segfree_attention.hpp"

namespace fgdm::kernels {

// Two blocks of six warps on a multiprocessor: 168 registers a thread, for up to 80 tokens. More
// tokens need more, and float32 doesn't matter.
template <class Element, int kTokenTiles>
inline constexpr int least_blocks =
    sizeof(Element) == 2 && kTokenTiles == short_token_tiles ? 2 : 1;

template <class Element, int kHeadSize, int kTokenTiles>
__global__ void __launch_bounds__(warp_size* max_warps, (least_blocks<Element, kTokenTiles>))
    segfree_attention_kernel(const __grid_constant__ AttentionArguments arguments) {
  extern __shared__ Vector16 shared_memory[];
  DeviceThread thread{reinterpret_cast<unsigned char*>(shared_memory)};
  AttentionThread<AttentionVariant<Element, kHeadSize, kTokenTiles>, DeviceThread>(thread,
                                                                                   arguments)
      .run();
}

template <class Element, int kHeadSize, int kTokenTiles>
cudaError_t launch_variant(const AttentionPlan& plan, const AttentionArguments& arguments,
                           cudaStream_t stream) {
  const auto kernel = segfree_attention_kernel<Element, kHeadSize, kTokenTiles>;
  constexpr int without_asking = 48 * 1024;
  if (plan.shared_bytes > without_asking) {
    // The limit is the function's, for all threads and launches: always the same, and the largest.
    const cudaError_t error = cudaFuncSetAttribute(
        kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, plan.shared_limit);
    if (error != cudaSuccess)
      return forgotten(error);
  }
  kernel<<<dim3(plan.grid.x, plan.grid.y, plan.grid.z), static_cast<unsigned>(32 * plan.warps),
           static_cast<std::size_t>(plan.shared_bytes), stream>>>(arguments);
  return cudaGetLastError();
}

template <class Element, int kHeadSize>
cudaError_t launch_head_size(const AttentionPlan& plan, const AttentionArguments& arguments,
                             cudaStream_t stream) {
  return token_tiles(arguments.tokens) == short_token_tiles
             ? launch_variant<Element, kHeadSize, short_token_tiles>(plan, arguments, stream)
             : launch_variant<Element, kHeadSize, long_token_tiles>(plan, arguments, stream);
}

template <class Element>
cudaError_t launch_attention(int head_size, const AttentionPlan& plan,
                             const AttentionArguments& arguments, cudaStream_t stream) {
  switch (head_size) {
  case 32:
    return launch_head_size<Element, 32>(plan, arguments, stream);
  case 40:
    return launch_head_size<Element, 40>(plan, arguments, stream);
  case 64:
    return launch_head_size<Element, 64>(plan, arguments, stream);
  case 80:
    return launch_head_size<Element, 80>(plan, arguments, stream);
  case 160:
    return launch_head_size<Element, 160>(plan, arguments, stream);
  default:
    return cudaErrorInvalidValue;
  }
}

}  // namespace fgdm::kernels
