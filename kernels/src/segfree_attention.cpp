// The launcher of fgdm_segfree_attention.

#include <utility>

#include "attention_plan.hpp"
#include "device.hpp"

namespace fgdm::kernels {

// In segfree_attention_<type>.cu.
template <class Element>
cudaError_t launch_attention(int head_size, const AttentionPlan& plan,
                             const AttentionArguments& arguments, cudaStream_t stream);

}  // namespace fgdm::kernels

int fgdm_segfree_attention(const fgdm_attention_shape* shape, const void* q, const void* k,
                           const void* v, const float* attn_scale, const unsigned char* argmax_mask,
                           void* out, fgdm_stream stream) {
  using namespace fgdm::kernels;
  if (fgdm_segfree_attention_check(shape) != nullptr || !is_aligned(q) || !is_aligned(k) ||
      !is_aligned(v) || !is_aligned(out) || attn_scale == nullptr || argmax_mask == nullptr)
    return cudaErrorInvalidValue;
  DeviceLimits limits{};
  int major = 0;
  for (const auto& [attribute, value] :
       {std::pair{cudaDevAttrMultiProcessorCount, &limits.multiprocessors},
        std::pair{cudaDevAttrMaxSharedMemoryPerBlockOptin, &limits.shared_bytes},
        std::pair{cudaDevAttrComputeCapabilityMajor, &major}})
    if (const cudaError_t error = device_attribute(attribute, *value); error != cudaSuccess)
      return error;
  const AttentionPlan plan = plan_attention(*shape, limits);
  const AttentionArguments arguments =
      attention_arguments(*shape, plan, {q, k, v, attn_scale, argmax_mask, out});
  switch (shape->dtype) {
  case FGDM_FLOAT16:
    return launch_attention<Float16>(shape->head_size, plan, arguments, stream);
  case FGDM_BFLOAT16:
    return major < 8 ? cudaErrorNotSupported
                     : launch_attention<BFloat16>(shape->head_size, plan, arguments, stream);
  default:
    return launch_attention<float>(shape->head_size, plan, arguments, stream);
  }
}
