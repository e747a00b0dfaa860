// The op on the host in double precision, where the CUDA kernel would be: DESIGN's five steps, for
// float32. Counts its calls, so that a test sees whether it was used at all.
#include <cmath>
#include <cstdlib>
#include <vector>

#include "fgdm/kernels.h"

extern "C" {

__attribute__((visibility("default"))) int fgdm_host_kernel_calls = 0;

const char* fgdm_segfree_attention_check(const fgdm_attention_shape* shape) {
  return shape->dtype == FGDM_FLOAT32 ? nullptr : "the host kernel computes in float32";
}

int fgdm_segfree_attention(const fgdm_attention_shape* shape, const void* q_data,
                           const void* k_data, const void* v_data, const float* attn_scale,
                           const unsigned char* argmax_mask, void* out_data, fgdm_stream) {
  ++fgdm_host_kernel_calls;
  const auto* q = static_cast<const float*>(q_data);
  const auto* k = static_cast<const float*>(k_data);
  const auto* v = static_cast<const float*>(v_data);
  auto* out = static_cast<float*>(out_data);
  const auto heads = static_cast<std::size_t>(shape->heads);
  const auto patches = static_cast<std::size_t>(shape->patches);
  const auto tokens = static_cast<std::size_t>(shape->tokens);
  const auto size = static_cast<std::size_t>(shape->head_size);
  for (std::size_t row = 0; row < static_cast<std::size_t>(shape->batch); ++row)
    for (std::size_t patch = 0; patch < patches; ++patch) {
      std::vector<double> weights(heads * tokens), mean(tokens, 0.0);
      for (std::size_t head = 0; head < heads; ++head) {
        const float* query = q + ((row * heads + head) * patches + patch) * size;
        double sum = 0;
        for (std::size_t token = 0; token < tokens; ++token) {
          const float* key = k + ((row * heads + head) * tokens + token) * size;
          double dot = 0;
          for (std::size_t i = 0; i < size; ++i)
            dot += double{query[i]} * double{key[i]};
          auto& weight = weights[head * tokens + token];
          weight = std::exp(dot / std::sqrt(static_cast<double>(size)));
          sum += weight;
        }
        for (std::size_t token = 0; token < tokens; ++token) {
          weights[head * tokens + token] /= sum;
          mean[token] += weights[head * tokens + token];
        }
      }
      std::size_t strongest = tokens;
      for (std::size_t token = 0; token < tokens; ++token)
        if (argmax_mask[row * tokens + token] != 0 &&
            (strongest == tokens || mean[token] > mean[strongest]))
          strongest = token;
      for (std::size_t head = 0; head < heads; ++head)
        for (std::size_t i = 0; i < size; ++i) {
          double total = 0;
          for (std::size_t token = 0; token < tokens; ++token)
            total += weights[head * tokens + token] *
                     (token == strongest ? double{attn_scale[row]} : 1.0) *
                     double{v[((row * heads + head) * tokens + token) * size + i]};
          out[((row * heads + head) * patches + patch) * size + i] = static_cast<float>(total);
        }
    }
  return 0;
}
}
