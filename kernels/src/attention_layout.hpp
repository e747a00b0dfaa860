#pragma once

// Who holds what: the fragment layouts of PTX's mma.m16n8k16 and ldmatrix as index functions, and
// where tiles lie in shared memory. "PTX ISA", sections on matrix fragments.

#include "host_device.hpp"

namespace fgdm::kernels {

inline constexpr int warp_size = 32;
inline constexpr int patches_per_warp = 16;  // the rows of one mma
inline constexpr int tokens_per_tile = 16;   // two mma columns tiles, or one mma depth
inline constexpr int max_warps = 6;          // of a block

// A variant of the kernel. Scores of a row are held in registers whole: no online softmax.
template <typename Element_, int kHeadSize, int kTokenTiles> struct AttentionVariant {
  using Element = Element_;
  static constexpr int head_size = kHeadSize;
  static constexpr int padded_head_size = (kHeadSize + 15) / 16 * 16;  // a whole number of mma
  // An odd number of 16-byte units: the eight rows of an ldmatrix fall into different banks.
  static constexpr int row_stride = padded_head_size + 8;
  static constexpr int token_tiles = kTokenTiles;
  static constexpr int token_rows = kTokenTiles * tokens_per_tile;
  static constexpr int score_columns = 2 * kTokenTiles;  // mma column tiles of 8 tokens
  static constexpr int chunks_per_row = kHeadSize / 8;   // of 16 bytes
  static_assert(kHeadSize % 8 == 0 && kTokenTiles >= 1 && kTokenTiles <= 8);
};

// Shared memory of a block: `buffers` tiles of keys or values, then as many stages of patches per
// warp.
FGDM_HOST_DEVICE constexpr int tile_bytes(int row_stride, int token_rows) {
  return 2 * row_stride * token_rows;
}

FGDM_HOST_DEVICE constexpr int stage_bytes(int row_stride) {
  return 2 * row_stride * patches_per_warp;
}

FGDM_HOST_DEVICE constexpr int shared_bytes(int row_stride, int token_rows, int warps,
                                            int buffers) {
  return buffers * (tile_bytes(row_stride, token_rows) + warps * stage_bytes(row_stride));
}

// Scores: register i of column tile j belongs to this patch and token of the warp's tile.
FGDM_HOST_DEVICE constexpr int score_patch(int lane, int i) {
  return lane / 4 + 8 * (i / 2);
}

FGDM_HOST_DEVICE constexpr int score_token(int lane, int j, int i) {
  return 8 * j + 2 * (lane % 4) + i % 2;
}

// The rows whose addresses a lane gives to an ldmatrix of four 8x8 matrices, as offsets from the
// tile's corner.
struct TileOffset {
  int row, column;
};

// Queries as the left operand: 16 patches by 16 channels.
FGDM_HOST_DEVICE constexpr TileOffset query_offset(int lane) {
  return {lane % 16, 8 * (lane / 16)};
}

// Keys as the right operand of two mma: 16 tokens by 16 channels; registers 0 and 1 are the first 8
// tokens.
FGDM_HOST_DEVICE constexpr TileOffset key_offset(int lane) {
  return {lane % 8 + 8 * (lane / 16), 8 * (lane / 8 % 2)};
}

// Values as the right operand of two mma, transposed: 16 tokens by 16 channels; registers 0 and 1
// are the first 8 channels.
FGDM_HOST_DEVICE constexpr TileOffset value_offset(int lane) {
  return {lane % 16, 8 * (lane / 16)};
}

// Heads [first, last) of one of `groups` groups.
struct HeadRange {
  int first, last;
};

FGDM_HOST_DEVICE constexpr HeadRange head_range(int heads, int groups, int group) {
  return {heads * group / groups, heads * (group + 1) / groups};
}

}  // namespace fgdm::kernels
