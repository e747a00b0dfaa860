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
};

// Covers T up to 80, SD's 77 included, without the registers that 128 needs.
inline constexpr int short_token_tiles = 5;
inline constexpr int long_token_tiles = 8;

constexpr int token_tiles(int tokens) {
  return tokens <= short_token_tiles * tokens_per_tile ? short_token_tiles : long_token_tiles;
}

// Heads are split over blocks until each multiprocessor has eight warps, as far as heads go. Blocks
// are as large as they can be, because they share the loads of keys and values, while every
// multiprocessor has one. Expects a shape that fgdm_segfree_attention_check accepts, and at least
// 64 KB of shared memory per block.
AttentionPlan plan_attention(const fgdm_attention_shape& shape, const DeviceLimits& limits);

AttentionArguments attention_arguments(const fgdm_attention_shape& shape, const AttentionPlan& plan,
                                       const AttentionPointers& pointers);

}  // namespace fgdm::kernels
