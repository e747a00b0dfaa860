#pragma once

// The fused kernel of fgdm_segfree_attention, written for one thread of a block. `Thread` is the
// device's (device_thread.cuh) or the tests' emulation of it.
//
// A warp owns 16 patches, a block a few warps, one batch row and a group of heads. The strongest
// token needs the mean over all heads before any head's output, so rows with a scale other than 1
// take two passes over the heads: the first keeps only the running mean, the second recomputes
// scores and writes the output with the scaled weight. The alternative, correcting a written output
// by (scale - 1) p v, would have to read back numbers already rounded to 16 bits, which is where
// scales of -10 and below cancel. The second q k' costs 50 % more arithmetic: at SD 1.5's shapes
// 115 instead of 77 operations per byte of q and out, still below what the matrix units of the
// cards of interest do per byte of memory traffic; q comes from the L2 cache the second time. Where
// heads are split over blocks, to fill the device with few patches, each block repeats the first
// pass over all heads: nothing has to be exchanged between blocks, and every block of a patch finds
// the same token, because it adds the same numbers in the same order.

#include "attention_softmax.hpp"
#include "float_tiles.hpp"
#include "tensor_tiles.hpp"

namespace fgdm::kernels {

template <class Variant, class Thread> struct AttentionThread {
  static constexpr int columns = Variant::score_columns;
  using Tiles = AttentionTiles<Variant, Thread>;

  Thread& thread;
  const AttentionArguments& arguments;
  Tiles tiles;

  FGDM_HOST_DEVICE AttentionThread(Thread& thread_, const AttentionArguments& arguments_)
      : thread(thread_), arguments(arguments_), tiles(thread_, arguments_) {}

  FGDM_HOST_DEVICE void run() {
    const auto row = static_cast<std::int64_t>(thread.block().z);
    const float scale = arguments.attn_scale[row];
    tiles.clear_padding();
    if (scale == 1.0F) {
      attend(scale, 0, {{-1, -1}});
      return;
    }
    const std::uint32_t allowed = allowed_tokens<columns>(
        thread.lane(), arguments.argmax_mask + row * arguments.tokens, arguments.tokens);
    if (arguments.per_head)
      attend(scale, allowed, {{-1, -1}});
    else
      attend(scale, 0, mean_strongest(allowed));
  }

private:
  // Waits until what all threads have loaded is there; also, nobody still uses what came before.
  FGDM_HOST_DEVICE void arrive() {
    thread.wait_copies();
    thread.sync_block();
  }

  FGDM_HOST_DEVICE PerPatch<float> head_weights(int slot, Scores<columns>& scores) {
    tiles.scores(slot, scores);
    return exponentials(thread, scores, arguments.tokens, arguments.log2_scale);
  }

  // The first pass. Two tiles of keys alternate: one is loaded while the other is used.
  FGDM_HOST_DEVICE PerPatch<int> mean_strongest(std::uint32_t allowed) {
    Scores<columns> sum{};
    const bool ahead = arguments.buffers > 1;
    tiles.load_keys_and_queries(0, 0);
    FGDM_NO_UNROLL
    for (int head = 0; head < arguments.heads; ++head) {
      const int slot = ahead ? head % 2 : 0;
      const bool more = head + 1 < arguments.heads;
      arrive();
      if (more && ahead)
        tiles.load_keys_and_queries(head + 1, 1 - slot);
      Scores<columns> weights;
      const PerPatch<float> inverse_sum = head_weights(slot, weights);
      FGDM_UNROLL
      for (int j = 0; j < columns; ++j) {
        FGDM_UNROLL
        for (int i = 0; i < 4; ++i)
          sum.at[j][i] += weights.at[j][i] * inverse_sum.at[i / 2];
      }
      if (more && !ahead) {
        thread.sync_block();
        tiles.load_keys_and_queries(head + 1, 0);
      }
    }
    thread.sync_block();
    return strongest_tokens(thread, sum, allowed);
  }

  // The pass that writes. Values are loaded while scores are computed, the next head's keys and
  // queries while the output is. `own` are the tokens of which each head chooses its own strongest,
  // if any; otherwise `strongest` is weighted in all heads.
  FGDM_HOST_DEVICE void attend(float scale, std::uint32_t own, PerPatch<int> strongest) {
    const HeadRange heads =
        head_range(arguments.heads, arguments.head_groups, static_cast<int>(thread.block().y));
    const bool ahead = arguments.buffers > 1;
    tiles.load_keys_and_queries(heads.first, 0);
    FGDM_NO_UNROLL
    for (int head = heads.first; head < heads.last; ++head) {
      const bool more = head + 1 < heads.last;
      arrive();
      if (ahead)
        tiles.load_values(head);
      Scores<columns> weights;
      PerPatch<float> factor = head_weights(0, weights);
      if (scale != 1.0F) {
        if (arguments.per_head)
          strongest = strongest_tokens(thread, weights, own);
        scale_strongest(thread, weights, strongest, scale, factor);
      }
      if (!ahead) {
        thread.sync_block();
        tiles.load_values(head);
      }
      arrive();
      if (more && ahead)
        tiles.load_keys_and_queries(head + 1, 0);
      tiles.write_output(head, weights, factor);
      if (more && !ahead) {
        thread.sync_block();
        tiles.load_keys_and_queries(head + 1, 0);
      }
    }
  }
};

}  // namespace fgdm::kernels
