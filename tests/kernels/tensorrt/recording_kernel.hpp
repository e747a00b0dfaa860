#pragma once

#include <vector>

#include "fgdm/kernels.h"

// Stands where the CUDA kernel would be, and keeps what it was called with.
struct KernelCall {
  fgdm_attention_shape shape;
  const void *q, *k, *v;
  const float* attn_scale;
  const unsigned char* argmax_mask;
  void* out;
  fgdm_stream stream;
};

// Calls since the last clear().
std::vector<KernelCall>& kernel_calls();

// The kernel takes head sizes up to this; its next calls return `next_kernel_error`.
inline constexpr int most_head_size = 160;
extern int next_kernel_error;
