#pragma once

#include <cstddef>

#include "fgdm/kernels.h"

// The op fgdm::SegFreeAttention on the processor, in float32. This header is all that sources for
// one kind of processor include: what they compiled of a header that others share, the linker might
// give to a processor that can't run it.
namespace fgdm::cpu {

// As fgdm_segfree_attention of fgdm/kernels.h has them, in host memory of any alignment. Of the
// shape, head_size, heads and tokens may be any number from 1; dtype is float32.
struct AttentionArrays {
  const float *q, *k, *v, *attn_scale;
  const unsigned char* argmax_mask;
  float* out;
};

// A piece of the work: `count` patches of one batch row, all heads.
struct AttentionPart {
  int row, first, count;
};

// One for each kind of processor, from one source: attention_loops.hpp.
struct AttentionKernel {
  const char* name;  // such as "avx2"
  // Numbers of scratch memory that a part takes.
  std::size_t (*scratch)(const fgdm_attention_shape& shape);
  void (*run)(const fgdm_attention_shape& shape, const AttentionArrays& arrays,
              const AttentionPart& part, float* scratch);
};

extern const AttentionKernel attention_baseline;  // of every processor of this architecture
#ifdef __x86_64__
extern const AttentionKernel attention_avx2, attention_avx512;
#endif

}  // namespace fgdm::cpu
