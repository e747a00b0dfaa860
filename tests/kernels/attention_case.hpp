#pragma once

// Inputs of segfree_attention, and what an output is judged by. Shared by the tests that emulate
// the kernel and those that run it on a card.

#include <cstddef>
#include <functional>
#include <random>
#include <string>
#include <vector>

#include "fgdm/kernels.h"
#include "host_device.hpp"
#include "numbers.hpp"

namespace fgdm::kernels::test {

struct AttentionCase {
  std::string name;
  fgdm_attention_shape shape;
  std::vector<double> q, k, v;  // already rounded to the shape's type
  std::vector<float> attn_scale;
  std::vector<unsigned char> argmax_mask;

  double& key(int batch, int head, int token, int channel);
  double& query(int batch, int head, int patch, int channel);
  void round_inputs();
};

// Normal random q, k and v; scales 1, -10, 0, -50, ... by batch row; all tokens but the first
// allowed.
AttentionCase random_case(const fgdm_attention_shape& shape, unsigned seed);

// One case per way to go wrong: ties and near ties, equal logits, a dominant token, very large
// logits, masks with one token or none.
std::vector<AttentionCase> adversarial_cases(fgdm_dtype dtype, fgdm_argmax argmax);

// Compares with the float64 reference, row by row: the relative L2 error may be 2e-3 for float16,
// 1e-4 for float32, 1.6e-2 for bfloat16 (which has three bits fewer than float16), plus half the
// least float16. Where the best tokens differ by less than float16 rounding, but do differ, any
// of them may have been chosen, and the row is compared with each. Returns what is wrong, or "".
std::string compare(const AttentionCase& given, const std::vector<double>& out);

template <typename T> std::vector<T> stored(const std::vector<double>& values) {
  std::vector<T> result;
  result.reserve(values.size());
  for (const double value : values)
    result.push_back(from_double<T>(value));
  return result;
}

template <typename T> std::vector<double> widened(const std::vector<T>& values) {
  std::vector<double> result;
  result.reserve(values.size());
  for (const T value : values)
    result.push_back(to_double(value));
  return result;
}

// Calls `function` with the storage type of `dtype` as its argument.
template <typename Function> decltype(auto) with_type(fgdm_dtype dtype, Function function) {
  if (dtype == FGDM_FLOAT16)
    return function(Float16{});
  if (dtype == FGDM_BFLOAT16)
    return function(BFloat16{});
  return function(float{});
}

}  // namespace fgdm::kernels::test
