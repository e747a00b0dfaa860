#pragma once

#include "attention_layout.hpp"

namespace fgdm::kernels {

// The tensors of segfree_attention, on the device.
struct AttentionPointers {
  const void* q;
  const void* k;
  const void* v;
  const float* attn_scale;
  const unsigned char* argmax_mask;
  void* out;
};

// What every thread of segfree_attention is given. The grid is (tiles of patches, head groups,
// batch).
struct AttentionArguments : AttentionPointers {
  int heads, patches, tokens;
  bool per_head;
  int head_groups;
  int buffers;       // 2: loads run ahead of products; 1: where shared memory is short
  float log2_scale;  // log2(e) / sqrt(head_size)
};

template <class Thread> FGDM_HOST_DEVICE int first_patch_of(const Thread& thread) {
  return (static_cast<int>(thread.block().x) * thread.warps() + thread.warp()) * patches_per_warp;
}

// In tensor_tiles.hpp for 16-bit numbers, specialised in float_tiles.hpp for float32.
template <class Variant, class Thread> struct AttentionTiles;

}  // namespace fgdm::kernels
