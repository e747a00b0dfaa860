#pragma once

// Loads, matrix products and stores of segfree_attention for 16-bit numbers, on tensor cores.

#include "attention_arguments.hpp"
#include "attention_softmax.hpp"

namespace fgdm::kernels {

template <class Variant, class Thread> struct AttentionTiles {
  using Element = typename Variant::Element;
  static constexpr int columns = Variant::score_columns;
  static constexpr int stride = Variant::row_stride;
  static constexpr int chunks = Variant::chunks_per_row;
  static constexpr int padded_chunks = Variant::padded_head_size / 8;

  Thread& thread;
  const AttentionArguments& arguments;
  int first_patch;

  FGDM_HOST_DEVICE AttentionTiles(Thread& thread_, const AttentionArguments& arguments_)
      : thread(thread_), arguments(arguments_), first_patch(first_patch_of(thread_)) {}

  // Zeros what no load ever writes but a product reads: 0 times what happens to lie there could be
  // NaN.
  FGDM_HOST_DEVICE void clear_padding() {
    const int first = warp_size * thread.warp() + thread.lane();
    const int threads = warp_size * thread.warps();
    const int empty_rows = Variant::token_rows - arguments.tokens;
    for (int buffer = 0; buffer < arguments.buffers; ++buffer) {
      for (int i = first; i < empty_rows * padded_chunks; i += threads)
        *chunk(tile(buffer), arguments.tokens + i / padded_chunks, i % padded_chunks) = Vector16{};
      if constexpr (chunks < padded_chunks) {
        for (int row = first; row < arguments.tokens; row += threads)
          *chunk(tile(buffer), row, chunks) = Vector16{};
        for (int row = thread.lane(); row < patches_per_warp; row += warp_size)
          *chunk(stage(buffer), row, chunks) = Vector16{};
      }
    }
  }

  FGDM_HOST_DEVICE void load_keys_and_queries(int head, int slot) {
    load_tokens(arguments.k, head, slot);
    const Vector16* from = static_cast<const Vector16*>(arguments.q) + patch_offset(head);
    FGDM_NO_UNROLL
    for (int i = thread.lane(); i < valid_chunks(); i += warp_size)
      thread.copy16(chunk(stage(slot), i / chunks, i % chunks), from + i);
  }

  FGDM_HOST_DEVICE void load_values(int head) { load_tokens(arguments.v, head, 1); }

  // q k', not scaled.
  FGDM_HOST_DEVICE void scores(int slot, Scores<columns>& result) {
    const TileOffset query = query_offset(thread.lane());
    const TileOffset key = key_offset(thread.lane());
    const std::uint16_t* queries = stage(slot) + query.row * stride + query.column;
    const std::uint16_t* keys = tile(slot) + key.row * stride + key.column;
    result = Scores<columns>{};
    FGDM_NO_UNROLL
    for (int channel = 0; channel < Variant::padded_head_size; channel += 16) {
      std::uint32_t left[4];
      thread.load_matrices(left, queries + channel);
      FGDM_UNROLL
      for (int t = 0; t < Variant::token_tiles; ++t) {
        std::uint32_t right[4];
        thread.load_matrices(right, keys + t * tokens_per_tile * stride + channel);
        thread.template mma<Element>(result.at[2 * t], left, right[0], right[1]);
        thread.template mma<Element>(result.at[2 * t + 1], left, right[2], right[3]);
      }
    }
  }

  // out = factor * weights v, for this warp's patches.
  FGDM_HOST_DEVICE void write_output(int head, const Scores<columns>& weights,
                                     const PerPatch<float>& factor) {
    // The registers in which an mma leaves a product are those in which the next one takes it.
    std::uint32_t left[Variant::token_tiles][4];
    FGDM_UNROLL
    for (int t = 0; t < Variant::token_tiles; ++t) {
      FGDM_UNROLL
      for (int i = 0; i < 4; ++i) {
        const float* pair = &weights.at[2 * t + i / 2][2 * (i % 2)];
        left[t][i] = thread.template pack<Element>(pair[0], pair[1]);
      }
    }
    const TileOffset value = value_offset(thread.lane());
    const std::uint16_t* values = tile(1) + value.row * stride + value.column;
    FGDM_NO_UNROLL
    for (int channel = 0; channel < Variant::padded_head_size; channel += 16) {
      float first[4] = {};
      float second[4] = {};
      FGDM_UNROLL
      for (int t = 0; t < Variant::token_tiles; ++t) {
        std::uint32_t right[4];
        thread.load_matrices_transposed(right, values + t * tokens_per_tile * stride + channel);
        thread.template mma<Element>(first, left[t], right[0], right[1]);
        if (channel + 8 < Variant::head_size)
          thread.template mma<Element>(second, left[t], right[2], right[3]);
      }
      stage_output(channel, first, factor);
      if (channel + 8 < Variant::head_size)
        stage_output(channel + 8, second, factor);
    }
    thread.sync_warp();
    Vector16* to = static_cast<Vector16*>(arguments.out) + patch_offset(head);
    FGDM_NO_UNROLL
    for (int i = thread.lane(); i < valid_chunks(); i += warp_size)
      to[i] = *chunk(stage(1), i / chunks, i % chunks);
  }

private:
  // This warp's: queries, and queries of the next head or output, which take their place where
  // there is one buffer.
  FGDM_HOST_DEVICE std::uint16_t* stage(int slot) const {
    return reinterpret_cast<std::uint16_t*>(
        thread.shared() + arguments.buffers * tile_bytes(stride, Variant::token_rows) +
        (arguments.buffers * thread.warp() + buffer_of(slot)) * stage_bytes(stride));
  }

  FGDM_HOST_DEVICE std::uint16_t* tile(int slot) const {
    return reinterpret_cast<std::uint16_t*>(thread.shared()) +
           buffer_of(slot) * Variant::token_rows * stride;
  }

  FGDM_HOST_DEVICE int buffer_of(int slot) const { return slot < arguments.buffers ? slot : 0; }

  FGDM_HOST_DEVICE static Vector16* chunk(std::uint16_t* rows, int row, int column) {
    return reinterpret_cast<Vector16*>(rows + row * stride + 8 * column);
  }

  // Where this warp's patches start in q and out: one contiguous piece per head.
  FGDM_HOST_DEVICE std::int64_t patch_offset(int head) const {
    const auto row = static_cast<std::int64_t>(thread.block().z) * arguments.heads + head;
    return (row * arguments.patches + first_patch) * chunks;
  }

  // 0 or less for a warp beyond the last patch.
  FGDM_HOST_DEVICE int valid_chunks() const {
    const int left = arguments.patches - first_patch;
    return chunks * (left < patches_per_warp ? left : patches_per_warp);
  }

  FGDM_HOST_DEVICE void load_tokens(const void* all, int head, int slot) {
    const auto row = static_cast<std::int64_t>(thread.block().z) * arguments.heads + head;
    const Vector16* from = static_cast<const Vector16*>(all) + row * arguments.tokens * chunks;
    const int threads = warp_size * thread.warps();
    FGDM_NO_UNROLL
    for (int i = warp_size * thread.warp() + thread.lane(); i < arguments.tokens * chunks;
         i += threads)
      thread.copy16(chunk(tile(slot), i / chunks, i % chunks), from + i);
  }

  FGDM_HOST_DEVICE void stage_output(int channel, const float (&sums)[4],
                                     const PerPatch<float>& factor) {
    FGDM_UNROLL
    for (int half = 0; half < 2; ++half) {
      const std::uint32_t pair = thread.template pack<Element>(
          sums[2 * half] * factor.at[half], sums[2 * half + 1] * factor.at[half]);
      std::uint16_t* to = stage(1) + score_patch(thread.lane(), 2 * half) * stride +
                          score_token(thread.lane(), 0, 0) + channel;
      *reinterpret_cast<std::uint32_t*>(to) = pair;
    }
  }
};

}  // namespace fgdm::kernels
