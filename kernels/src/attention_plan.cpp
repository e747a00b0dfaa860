#include "attention_plan.hpp"

#include <algorithm>
#include <cmath>
#include <initializer_list>
#include <limits>
#include <numbers>

#include "messages.hpp"

namespace fgdm::kernels {

namespace {

constexpr int max_heads = 16;
constexpr int max_tokens = long_token_tiles * tokens_per_tile;
constexpr int max_batch = 65535;      // of a grid's third dimension
constexpr int max_patches = 1 << 24;  // keeps block indices within int

constexpr int row_stride(int head_size) {
  return (head_size + 15) / 16 * 16 + 8;
}

constexpr int ceil_div(std::int64_t value, std::int64_t by) {
  return static_cast<int>((value + by - 1) / by);
}

}  // namespace

AttentionPlan plan_attention(const fgdm_attention_shape& shape, const DeviceLimits& limits) {
  const auto shared = [&](int warps, int buffers) {
    return shape.dtype == FGDM_FLOAT32
               ? 0
               : shared_bytes(row_stride(shape.head_size),
                              token_tiles(shape.tokens) * tokens_per_tile, warps, buffers);
  };
  const auto columns = [&](int warps) {
    return ceil_div(shape.patches, std::int64_t{warps} * patches_per_warp);
  };
  // The time, in units of one warp's product of a tile of patches with one head's keys, or values.
  const auto cost = [&](int warps, int buffers, int groups) {
    constexpr int reserved = 1024;          // of each block's shared memory, by the driver
    constexpr int warps_in_registers = 12;  // of a multiprocessor, at 168 registers a thread
    constexpr double warps_in_step = 8;     // as many take twice as long as one alone
    constexpr double load = 1.2;            // of a head's keys or values, by one warp
    const auto blocks = std::int64_t{columns(warps)} * shape.batch * groups;
    const int fitting =
        std::min((limits.shared_bytes + reserved) / (shared(warps, buffers) + reserved),
                 std::max(1, warps_in_registers / warps));
    const int resident = std::min(fitting, ceil_div(blocks, limits.multiprocessors));
    const int waves = ceil_div(blocks, std::int64_t{limits.multiprocessors} * resident);
    const int products = shape.heads + 2 * ceil_div(shape.heads, groups);
    const double each = buffers > 1 ? std::max(1.0, load / warps) : 1.0 + load / warps;
    return waves * products * each * (1 + resident * warps / warps_in_step);
  };
  AttentionPlan best{};
  double least = std::numeric_limits<double>::infinity();
  for (const int warps : {max_warps, 4, 2, 1})
    for (const int buffers : {2, 1})
      for (int groups = 1; groups <= shape.heads; ++groups) {
        const int bytes = shared(warps, buffers);
        const double taken = cost(warps, buffers, groups);
        if (bytes > limits.shared_bytes || taken >= least)
          continue;
        least = taken;
        best = {{static_cast<unsigned>(columns(warps)), static_cast<unsigned>(groups),
                 static_cast<unsigned>(shape.batch)},
                warps,
                groups,
                buffers,
                bytes,
                limits.shared_bytes};
      }
  return best;
}

AttentionArguments attention_arguments(const fgdm_attention_shape& shape, const AttentionPlan& plan,
                                       const AttentionPointers& pointers) {
  return {pointers,
          shape.heads,
          shape.patches,
          shape.tokens,
          shape.argmax == FGDM_ARGMAX_PER_HEAD,
          plan.head_groups,
          plan.buffers,
          static_cast<float>(std::numbers::log2e / std::sqrt(double{1} * shape.head_size))};
}

}  // namespace fgdm::kernels

const char* fgdm_segfree_attention_check(const fgdm_attention_shape* shape) {
  using namespace fgdm::kernels;
  if (shape == nullptr)
    return "segfree_attention: the shape is NULL";
  const auto expect = [](const char* name, int given, int least, int most) {
    return given >= least && given <= most
               ? nullptr
               : message("segfree_attention: %s is %d, expected %d to %d", name, given, least,
                         most);
  };
  if (shape->dtype != FGDM_FLOAT32 && shape->dtype != FGDM_FLOAT16 && shape->dtype != FGDM_BFLOAT16)
    return message("segfree_attention: dtype is %d, expected FGDM_FLOAT32, FGDM_FLOAT16 or "
                   "FGDM_BFLOAT16",
                   static_cast<int>(shape->dtype));
  if (shape->argmax != FGDM_ARGMAX_MEAN && shape->argmax != FGDM_ARGMAX_PER_HEAD)
    return message("segfree_attention: argmax is %d, expected FGDM_ARGMAX_MEAN or "
                   "FGDM_ARGMAX_PER_HEAD",
                   static_cast<int>(shape->argmax));
  if (shape->head_size != 32 && shape->head_size != 40 && shape->head_size != 64 &&
      shape->head_size != 80 && shape->head_size != 160)
    return message("segfree_attention: head_size is %d, expected 32, 40, 64, 80 or 160",
                   shape->head_size);
  if (const char* error = expect("batch", shape->batch, 1, max_batch))
    return error;
  if (const char* error = expect("heads", shape->heads, 1, max_heads))
    return error;
  if (const char* error = expect("patches", shape->patches, 1, max_patches))
    return error;
  return expect("tokens", shape->tokens, 1, max_tokens);
}
