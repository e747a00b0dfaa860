#include <algorithm>
#include <cmath>
#include <cstddef>

#include "reference.hpp"

namespace fgdm::kernels::reference {

namespace {

// The first of the greatest allowed values, then those that are less by less than `rounding`.
std::vector<int> choose(std::span<const double> values, std::span<const unsigned char> mask,
                        double rounding) {
  const auto value = [&](int token) { return values[static_cast<std::size_t>(token)]; };
  const int tokens = static_cast<int>(values.size());
  int best = -1;
  for (int t = 0; t < tokens; ++t)
    if (mask[static_cast<std::size_t>(t)] != 0 && (best < 0 || value(t) > value(best)))
      best = t;
  if (best < 0)
    return {};
  std::vector<int> result{best};
  for (int t = 0; t < tokens; ++t)
    if (mask[static_cast<std::size_t>(t)] != 0 && value(t) < value(best) &&
        1.0 - value(t) / value(best) < rounding)
      result.push_back(t);
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
                       std::vector<std::vector<int>>* strongest, double rounding) {
  const auto heads = static_cast<std::size_t>(shape.heads);
  const auto patches = static_cast<std::size_t>(shape.patches);
  const auto tokens = static_cast<std::size_t>(shape.tokens);
  const auto size = static_cast<std::size_t>(shape.head_size);
  const std::size_t rows = static_cast<std::size_t>(shape.batch) * heads * patches;
  if (strongest != nullptr)
    strongest->resize(rows);

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
        const std::vector<int> chosen =
            choose(shape.argmax == FGDM_ARGMAX_MEAN ? mean : weights[h], mask, rounding);
        if (!chosen.empty())
          weights[h][static_cast<std::size_t>(chosen.front())] *= double{attn_scale[b]};
        const std::size_t row = (b * heads + h) * patches + p;
        for (std::size_t c = 0; c < size; ++c) {
          double sum = 0.0;
          for (std::size_t t = 0; t < tokens; ++t)
            sum += weights[h][t] * v[((b * heads + h) * tokens + t) * size + c];
          out[row * size + c] = sum;
        }
        if (strongest != nullptr)
          (*strongest)[row] = chosen;
      }
    }
}

}  // namespace fgdm::kernels::reference
