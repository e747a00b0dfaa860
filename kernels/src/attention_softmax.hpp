#pragma once

// What happens to a warp's scores in registers. Four neighbouring lanes (a quad) share two patches:
// lane / 4 and lane / 4 + 8. They hold registers 0, 1 and 2, 3 of each column tile.

#include "attention_layout.hpp"

namespace fgdm::kernels {

template <int kColumns> struct Scores {
  float at[kColumns][4];
};

// One value for each of a lane's two patches.
template <typename T> struct PerPatch {
  T at[2];
};

template <class Thread> FGDM_HOST_DEVICE float quad_max(Thread& thread, float value) {
  for (int mask = 1; mask <= 2; mask *= 2) {
    const float other = thread.shuffle_xor(value, mask);
    value = other > value ? other : value;
  }
  return value;
}

// The order of additions differs between lanes, but a + b is b + a: all four get the same sum.
template <class Thread> FGDM_HOST_DEVICE float quad_sum(Thread& thread, float value) {
  for (int mask = 1; mask <= 2; mask *= 2)
    value += thread.shuffle_xor(value, mask);
  return value;
}

// Turns scores into exp(score - row's maximum), 0 for tokens that don't exist, and returns the
// inverse row sums. `log2_scale` is log2(e) / sqrt(head_size).
template <int kColumns, class Thread>
FGDM_HOST_DEVICE PerPatch<float> exponentials(Thread& thread, Scores<kColumns>& scores, int tokens,
                                              float log2_scale) {
  const float infinity = thread.infinity();
  PerPatch<float> max{{-infinity, -infinity}};
  FGDM_UNROLL
  for (int j = 0; j < kColumns; ++j) {
    FGDM_UNROLL
    for (int i = 0; i < 4; ++i) {
      float& score = scores.at[j][i];
      if (score_token(thread.lane(), j, i) >= tokens)
        score = -infinity;
      max.at[i / 2] = score > max.at[i / 2] ? score : max.at[i / 2];
    }
  }
  PerPatch<float> sum{{0.0F, 0.0F}};
  FGDM_UNROLL
  for (int half = 0; half < 2; ++half)
    max.at[half] = quad_max(thread, max.at[half]);
  FGDM_UNROLL
  for (int j = 0; j < kColumns; ++j) {
    FGDM_UNROLL
    for (int i = 0; i < 4; ++i) {
      // The difference first: it is exact near the maximum however large the scores are.
      scores.at[j][i] = thread.exp2((scores.at[j][i] - max.at[i / 2]) * log2_scale);
      sum.at[i / 2] += scores.at[j][i];
    }
  }
  return {{1.0F / quad_sum(thread, sum.at[0]), 1.0F / quad_sum(thread, sum.at[1])}};
}

// The tokens of a lane that may be the strongest: bit 2 * j + i % 2 of the result. (No token from
// `tokens` on.) `mask` has one byte per token.
template <int kColumns>
FGDM_HOST_DEVICE std::uint32_t allowed_tokens(int lane, const unsigned char* mask, int tokens) {
  std::uint32_t result = 0;
  FGDM_UNROLL
  for (int bit = 0; bit < 2 * kColumns; ++bit) {
    const int token = score_token(lane, bit / 2, bit % 2);
    if (token < tokens && mask[token] != 0)
      result |= std::uint32_t{1} << bit;
  }
  return result;
}

// The allowed token with the greatest weight, the first of equals; -1 if none is allowed.
template <int kColumns, class Thread>
FGDM_HOST_DEVICE PerPatch<int> strongest_tokens(Thread& thread, const Scores<kColumns>& weights,
                                                std::uint32_t allowed) {
  PerPatch<int> result{{-1, -1}};
  FGDM_UNROLL
  for (int half = 0; half < 2; ++half) {
    float best = -1.0F;
    int& token = result.at[half];
    FGDM_UNROLL
    for (int bit = 0; bit < 2 * kColumns; ++bit) {
      const float weight = weights.at[bit / 2][2 * half + bit % 2];
      if ((allowed >> bit & 1U) != 0 && weight > best) {
        best = weight;
        token = score_token(thread.lane(), bit / 2, bit % 2);
      }
    }
    for (int mask = 1; mask <= 2; mask *= 2) {
      const float other_best = thread.shuffle_xor(best, mask);
      const int other = thread.shuffle_xor(token, mask);
      if (other_best > best || (other_best == best && other >= 0 && other < token)) {
        best = other_best;
        token = other;
      }
    }
  }
  return result;
}

// Multiplies the strongest tokens' weights by `scale`, then brings each row's greatest magnitude
// back to 1 and `inverse_sum` accordingly: rounded to 16 bits, what is left of a row whose dominant
// token is dropped would otherwise lie among the subnormal numbers.
template <int kColumns, class Thread>
FGDM_HOST_DEVICE void scale_strongest(Thread& thread, Scores<kColumns>& weights,
                                      const PerPatch<int>& strongest, float scale,
                                      PerPatch<float>& inverse_sum) {
  PerPatch<float> magnitude{{1e-30F, 1e-30F}};  // not 0: all weights may be
  FGDM_UNROLL
  for (int j = 0; j < kColumns; ++j) {
    FGDM_UNROLL
    for (int i = 0; i < 4; ++i) {
      float& weight = weights.at[j][i];
      if (score_token(thread.lane(), j, i) == strongest.at[i / 2])
        weight *= scale;
      const float size = weight < 0.0F ? -weight : weight;
      magnitude.at[i / 2] = size > magnitude.at[i / 2] ? size : magnitude.at[i / 2];
    }
  }
  FGDM_UNROLL
  for (int half = 0; half < 2; ++half) {
    const float largest = quad_max(thread, magnitude.at[half]);
    inverse_sum.at[half] *= largest;
    const float inverse = 1.0F / largest;
    FGDM_UNROLL
    for (int j = 0; j < kColumns; ++j) {
      weights.at[j][2 * half] *= inverse;
      weights.at[j][2 * half + 1] *= inverse;
    }
  }
}

}  // namespace fgdm::kernels
