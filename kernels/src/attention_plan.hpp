#pragma once

#include "attention_arguments.hpp"
#include "fgdm/kernels.h"

namespace fgdm::kernels {

// What a launch needs to know of the device.
struct DeviceLimits {
  int multiprocessors;
  int shared_bytes;  // that one block can have
};

// How a shape is spread over the device.
struct AttentionPlan {
  Index3 grid;
  int warps;
  int head_groups;
  int buffers;
  int shared_bytes;
  int shared_limit;  // of any block
};

// Covers T up to 80, SD's 77 included, without the registers that 128 needs.
inline constexpr int short_token_tiles = 5;
inline constexpr int long_token_tiles = 8;

constexpr int token_tiles(int tokens) {
  return tokens <= short_token_tiles * tokens_per_tile ? short_token_tiles : long_token_tiles;
}

// The spread that should take the least time by a small model of the device: blocks run in waves;
// more warps on a multiprocessor hide each other's waiting up to a point; a block's warps share the
// loads of keys and values, which hide behind products only where there are two buffers; and each
// group of heads repeats the first pass. Expects a shape that fgdm_segfree_attention_check accepts,
// and at least 64 KB of shared memory per block.
AttentionPlan plan_attention(const fgdm_attention_shape& shape, const DeviceLimits& limits);

AttentionArguments attention_arguments(const fgdm_attention_shape& shape, const AttentionPlan& plan,
                                       const AttentionPointers& pointers);

}  // namespace fgdm::kernels
