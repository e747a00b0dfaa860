#include "attention_case.hpp"

#include <algorithm>
#include <cmath>
#include <span>

#include "reference.hpp"

namespace fgdm::kernels::test {

namespace {

double tolerance(fgdm_dtype dtype) {
  return dtype == FGDM_FLOAT16 ? 2e-3 : dtype == FGDM_BFLOAT16 ? 1.6e-2 : 1e-4;
}

std::size_t offset(const fgdm_attention_shape& shape, int rows, int batch, int head, int row,
                   int channel) {
  return ((static_cast<std::size_t>(batch * shape.heads + head) * static_cast<std::size_t>(rows)) +
          static_cast<std::size_t>(row)) *
             static_cast<std::size_t>(shape.head_size) +
         static_cast<std::size_t>(channel);
}

// Calls `change` for every batch row, head and channel.
void for_each_column(const fgdm_attention_shape& shape,
                     const std::function<void(int, int, int)>& change) {
  for (int b = 0; b < shape.batch; ++b)
    for (int h = 0; h < shape.heads; ++h)
      for (int c = 0; c < shape.head_size; ++c)
        change(b, h, c);
}

void set_mask(AttentionCase& given, const std::vector<int>& allowed) {
  std::ranges::fill(given.argmax_mask, static_cast<unsigned char>(0));
  const auto tokens = static_cast<std::size_t>(given.shape.tokens);
  for (std::size_t b = 0; b < static_cast<std::size_t>(given.shape.batch); ++b)
    for (const int token : allowed)
      given.argmax_mask[b * tokens + static_cast<std::size_t>(token)] = 1;
}

// What a row, (batch, heads, patches), is if `token` is its strongest.
std::vector<double> row_with(const AttentionCase& given, std::size_t row, int token) {
  const auto size = static_cast<std::size_t>(given.shape.head_size);
  const auto tokens = static_cast<std::size_t>(given.shape.tokens);
  const std::size_t head = row / static_cast<std::size_t>(given.shape.patches);
  const std::size_t batch = head / static_cast<std::size_t>(given.shape.heads);
  fgdm_attention_shape one = given.shape;
  one.batch = one.heads = one.patches = 1;
  std::vector<unsigned char> mask(tokens, 0);
  mask[static_cast<std::size_t>(token)] = 1;
  std::vector<double> result(size);
  reference::segfree_attention(one, std::span(given.q).subspan(row * size, size),
                               std::span(given.k).subspan(head * tokens * size, tokens * size),
                               std::span(given.v).subspan(head * tokens * size, tokens * size),
                               std::span(given.attn_scale).subspan(batch, 1), mask, result);
  return result;
}

// Why a row isn't the one expected, or "".
std::string judge(fgdm_dtype dtype, std::span<const double> row, std::span<const double> expected) {
  double error = 0.0;
  double norm = 0.0;
  for (std::size_t c = 0; c < row.size(); ++c) {
    error += (row[c] - expected[c]) * (row[c] - expected[c]);
    norm += expected[c] * expected[c];
  }
  const double least = std::sqrt(static_cast<double>(row.size())) * 0x1p-25;
  if (std::sqrt(error) <= tolerance(dtype) * std::sqrt(norm) + least)
    return "";
  return "an error of " + std::to_string(std::sqrt(error)) + " in a norm of " +
         std::to_string(std::sqrt(norm));
}

}  // namespace

double& AttentionCase::key(int batch, int head, int token, int channel) {
  return k[offset(shape, shape.tokens, batch, head, token, channel)];
}

double& AttentionCase::query(int batch, int head, int patch, int channel) {
  return q[offset(shape, shape.patches, batch, head, patch, channel)];
}

void AttentionCase::round_inputs() {
  with_type(shape.dtype, [&]<typename T>(T) {
    for (auto* values : {&q, &k, &v})
      *values = widened(stored<T>(*values));
  });
}

AttentionCase random_case(const fgdm_attention_shape& shape, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<double> normal;
  const auto draw = [&](int rows) {
    std::vector<double> result(offset(shape, rows, shape.batch, 0, 0, 0));
    for (double& value : result)
      value = normal(random);
    return result;
  };
  AttentionCase result;
  result.name = "random";
  result.shape = shape;
  result.q = draw(shape.patches);
  result.k = draw(shape.tokens);
  result.v = draw(shape.tokens);
  const std::vector<float> scales = {-10.0F, 1.0F, 0.0F, -50.0F, 0.5F};
  const auto tokens = static_cast<std::size_t>(shape.tokens);
  for (std::size_t b = 0; b < static_cast<std::size_t>(shape.batch); ++b) {
    result.attn_scale.push_back(scales[b % scales.size()]);
    for (std::size_t t = 0; t < tokens; ++t)
      result.argmax_mask.push_back(t > 0 ? 2 : 0);  // any byte but 0 counts
  }
  result.round_inputs();
  return result;
}

std::vector<AttentionCase> adversarial_cases(fgdm_dtype dtype, fgdm_argmax argmax) {
  const fgdm_attention_shape shape{4, 3, 17, 77, 40, dtype, argmax};
  std::vector<AttentionCase> result;
  const auto add = [&](const char* name) -> AttentionCase& {
    AttentionCase& added =
        result.emplace_back(random_case(shape, 100 + static_cast<unsigned>(result.size())));
    added.name = name;
    added.attn_scale = {-10.0F, -50.0F, 0.0F, 1.0F};
    return added;
  };
  {
    AttentionCase& ties = add("two tokens tie");
    for_each_column(shape, [&](int b, int h, int c) {
      // Both stand out for every patch, in lanes and column tiles far from each other.
      for (int p = 0; p < shape.patches; ++p)
        ties.query(b, h, p, c) = 0.5 + 0.1 * ties.query(b, h, p, c);
      ties.key(b, h, 70, c) = ties.key(b, h, 13, c) = 0.8;
    });
  }
  {
    AttentionCase& equal = add("equal logits");
    std::ranges::fill(equal.k, 0.0);
    set_mask(equal, {76, 75, 21, 22, 40});
  }
  for (const double strength : {1.0, 4.0}) {  // exp(-12) and exp(-50) for the other tokens
    AttentionCase& dominant = add(strength > 1.0 ? "one token alone" : "one dominant token");
    for_each_column(shape, [&](int b, int h, int c) {
      for (int t = 0; t < shape.tokens; ++t)
        dominant.key(b, h, t, c) = 0.3 * dominant.key(b, h, t, c) + (t == 50 ? strength : 0.0);
      for (int p = 0; p < shape.patches; ++p)
        dominant.query(b, h, p, c) = 2.0 + 0.1 * dominant.query(b, h, p, c);
    });
  }
  {
    // In the thousands, where exp is infinite unless the largest is subtracted first. They are
    // exact in every type, and equal or more than 40 apart: no rounding decides which token wins.
    AttentionCase& large = add("very large logits");
    for (auto* values : {&large.q, &large.k})
      for (double& value : *values)
        value = 16.0 * std::round(2.0 * value);
  }
  set_mask(add("a mask with one token"), {44});
  set_mask(add("a mask with the last token"), {76});
  set_mask(add("a mask with no token"), {});
  {
    AttentionCase& near = add("two tokens nearly tie");
    for_each_column(shape, [&](int b, int h, int c) {
      for (int p = 0; p < shape.patches; ++p)
        near.query(b, h, p, c) = 0.5 + 0.1 * near.query(b, h, p, c);
      near.key(b, h, 70, c) = 0.8;
      near.key(b, h, 13, c) = c == 0 ? 0.8 + 0x1p-8 : 0.8;  // a bfloat16 more
    });
  }
  for (AttentionCase& made : result)
    made.round_inputs();
  return result;
}

std::string compare(const AttentionCase& given, const std::vector<double>& out) {
  std::vector<double> expected(given.q.size());
  std::vector<std::vector<int>> strongest;
  reference::segfree_attention(given.shape, given.q, given.k, given.v, given.attn_scale,
                               given.argmax_mask, expected, &strongest, 0x1p-11);
  const auto size = static_cast<std::size_t>(given.shape.head_size);
  for (std::size_t row = 0; row < strongest.size(); ++row) {
    const auto found = std::span(out).subspan(row * size, size);
    const std::string wrong =
        judge(given.shape.dtype, found, std::span(expected).subspan(row * size, size));
    const auto is_chosen = [&](int token) {
      return judge(given.shape.dtype, found, row_with(given, row, token)).empty();
    };
    if (!wrong.empty() && std::ranges::none_of(strongest[row], is_chosen))
      return given.name + ": row " + std::to_string(row) + " (" +
             std::to_string(strongest[row].size()) + " tokens may be its strongest) has " + wrong;
  }
  return "";
}

}  // namespace fgdm::kernels::test
