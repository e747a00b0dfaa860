#include <algorithm>
#include <cmath>
#include <cstddef>

#include "reference.hpp"

namespace fgdm::kernels::reference {

namespace {

// The first of the greatest allowed values, and by which fraction it beats the others.
struct Choice {
  int token = -1;
  double margin = 1.0;
};

Choice choose(std::span<const double> values, std::span<const unsigned char> mask) {
  Choice result;
  const auto value = [&](int token) { return values[static_cast<std::size_t>(token)]; };
  const int tokens = static_cast<int>(values.size());
  for (int t = 0; t < tokens; ++t)
    if (mask[static_cast<std::size_t>(t)] != 0 &&
        (result.token < 0 || value(t) > value(result.token)))
      result.token = t;
  for (int t = 0; t < tokens; ++t)
    if (mask[static_cast<std::size_t>(t)] != 0 && value(t) < value(result.token))
      result.margin = std::min(result.margin, 1.0 - value(t) / value(result.token));
  return result;
}

std::vector<double> softmax(std::span<const double> query, std::span<const double> keys,
                            std::size_t tokens) {
  const std::size_t size = query.size();
  std::vector<double> result(tokens, 0.0);
  for (std::size_t t = 0; t < tokens; ++t) {
    for (std::size_t c = 0; c < size; ++c)
      result[t] += query[c] * keys[t * size + c];
    result[t] /= std::sqrt(static_cast<double>(size));
  }
  const double max = *std::max_element(result.begin(), result.end());
  double sum = 0.0;
  for (double& value : result)
    sum += value = std::exp(value - max);
  for (double& value : result)
    value /= sum;
  return result;
}

}  // namespace

void segfree_attention(const fgdm_attention_shape& shape, std::span<const double> q,
                       std::span<const double> k, std::span<const double> v,
                       std::span<const float> attn_scale,
                       std::span<const unsigned char> argmax_mask, std::span<double> out,
                       std::vector<int>* strongest, std::vector<double>* margin) {
  const auto heads = static_cast<std::size_t>(shape.heads);
  const auto patches = static_cast<std::size_t>(shape.patches);
  const auto tokens = static_cast<std::size_t>(shape.tokens);
  const auto size = static_cast<std::size_t>(shape.head_size);
  const std::size_t rows = static_cast<std::size_t>(shape.batch) * heads * patches;
  if (strongest != nullptr)
    strongest->assign(rows, -1);
  if (margin != nullptr)
    margin->assign(rows, 1.0);

  for (std::size_t b = 0; b < static_cast<std::size_t>(shape.batch); ++b)
    for (std::size_t p = 0; p < patches; ++p) {
      const auto mask = argmax_mask.subspan(b * tokens, tokens);
      std::vector<std::vector<double>> weights;
      std::vector<double> mean(tokens, 0.0);
      for (std::size_t h = 0; h < heads; ++h) {
        weights.push_back(softmax(q.subspan(((b * heads + h) * patches + p) * size, size),
                                  k.subspan((b * heads + h) * tokens * size, tokens * size),
                                  tokens));
        for (std::size_t t = 0; t < tokens; ++t)
          mean[t] += weights[h][t] / static_cast<double>(heads);
      }
      for (std::size_t h = 0; h < heads; ++h) {
        const Choice choice = choose(shape.argmax == FGDM_ARGMAX_MEAN ? mean : weights[h], mask);
        if (choice.token >= 0)
          weights[h][static_cast<std::size_t>(choice.token)] *= double{attn_scale[b]};
        const std::size_t row = (b * heads + h) * patches + p;
        for (std::size_t c = 0; c < size; ++c) {
          double sum = 0.0;
          for (std::size_t t = 0; t < tokens; ++t)
            sum += weights[h][t] * v[((b * heads + h) * tokens + t) * size + c];
          out[row * size + c] = sum;
        }
        if (strongest != nullptr)
          (*strongest)[row] = choice.token;
        if (margin != nullptr)
          (*margin)[row] = choice.margin;
      }
    }
}

}  // namespace fgdm::kernels::reference
