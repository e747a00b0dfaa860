#pragma once

// Matrix products of segfree_attention for float32, straight from global memory. For tests: the
// registers hold what they hold on tensor cores, so that everything between the products is shared.

#include "attention_arguments.hpp"
#include "attention_softmax.hpp"

namespace fgdm::kernels {

template <int kHeadSize, int kTokenTiles, class Thread>
struct AttentionTiles<AttentionVariant<float, kHeadSize, kTokenTiles>, Thread> {
  using Variant = AttentionVariant<float, kHeadSize, kTokenTiles>;
  static constexpr int columns = Variant::score_columns;

  Thread& thread;
  const AttentionArguments& arguments;
  int first_patch;
  int heads[2] = {0, 0};  // whose keys and queries a slot stands for

  FGDM_HOST_DEVICE AttentionTiles(Thread& thread_, const AttentionArguments& arguments_)
      : thread(thread_), arguments(arguments_), first_patch(first_patch_of(thread_)) {}

  FGDM_HOST_DEVICE void clear_padding() {}
  FGDM_HOST_DEVICE void load_keys_and_queries(int head, int slot) {
    (slot == 0 ? heads[0] : heads[1]) = head;
  }
  FGDM_HOST_DEVICE void load_values(int) {}

  FGDM_HOST_DEVICE void scores(int slot, Scores<columns>& result) {
    const int head = slot == 0 ? heads[0] : heads[1];
    const auto* all_queries = static_cast<const float*>(arguments.q);
    const auto* all_keys = static_cast<const float*>(arguments.k);
    result = Scores<columns>{};
    FGDM_NO_UNROLL
    for (int channel = 0; channel < kHeadSize; ++channel) {
      float queries[2];
      FGDM_UNROLL
      for (int half = 0; half < 2; ++half)
        queries[half] = all_queries[offset(head, arguments.patches,
                                           first_patch + score_patch(thread.lane(), 2 * half)) +
                                    channel];
      FGDM_UNROLL
      for (int j = 0; j < columns; ++j) {
        FGDM_UNROLL
        for (int i = 0; i < 4; ++i) {
          const int token = score_token(thread.lane(), j, i);
          result.at[j][i] +=
              queries[i / 2] * all_keys[offset(head, arguments.tokens, token) + channel];
        }
      }
    }
  }

  FGDM_HOST_DEVICE void write_output(int head, const Scores<columns>& weights,
                                     const PerPatch<float>& factor) {
    FGDM_NO_UNROLL
    for (int channel = 0; channel < kHeadSize; channel += 8) {
      const int own = channel + score_token(thread.lane(), 0, 0);  // and the one after
      float sums[4] = {};
      FGDM_UNROLL
      for (int token = 0; token < 8 * columns; ++token) {
        const float* value =
            static_cast<const float*>(arguments.v) + offset(head, arguments.tokens, token);
        FGDM_UNROLL
        for (int half = 0; half < 2; ++half) {
          const float weight =
              thread.shuffle_quad(weights.at[token / 8][2 * half + token % 2], token % 8 / 2);
          if (token < arguments.tokens) {
            sums[2 * half] += weight * value[own];
            sums[2 * half + 1] += weight * value[own + 1];
          }
        }
      }
      FGDM_UNROLL
      for (int i = 0; i < 4; ++i) {
        const int patch = first_patch + score_patch(thread.lane(), i);
        if (patch < arguments.patches)
          static_cast<float*>(arguments.out)[offset(head, arguments.patches, patch) + own + i % 2] =
              sums[i] * factor.at[i / 2];
      }
    }
  }

private:
  // Of a row of (batch, heads, rows, head_size); of the last one, for one that doesn't exist.
  FGDM_HOST_DEVICE std::int64_t offset(int head, int rows, int index) const {
    const auto plane = static_cast<std::int64_t>(thread.block().z) * arguments.heads + head;
    return (plane * rows + (index < rows ? index : rows - 1)) * kHeadSize;
  }
};

}  // namespace fgdm::kernels
