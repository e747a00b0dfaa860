#include "attention_plan.hpp"

#include <algorithm>
#include <cmath>
#include <initializer_list>
#include <numbers>
#include <tuple>

#include "messages.hpp"

namespace fgdm::kernels {

namespace {

constexpr int wanted_warps_per_multiprocessor = 8;
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
  const std::int64_t tiles = std::int64_t{ceil_div(shape.patches, patches_per_warp)} * shape.batch;
  const std::int64_t wanted =
      std::int64_t{wanted_warps_per_multiprocessor} * limits.multiprocessors;
  const int groups = static_cast<int>(std::clamp<std::int64_t>(wanted / tiles, 1, shape.heads));

  const auto shared = [&](int warps, int buffers) {
    return shape.dtype == FGDM_FLOAT32
               ? 0
               : shared_bytes(row_stride(shape.head_size),
                              token_tiles(shape.tokens) * tokens_per_tile, warps, buffers);
  };
  const auto blocks = [&](int warps) {
    return std::int64_t{ceil_div(shape.patches, std::int64_t{warps} * patches_per_warp)} *
           shape.batch * groups;
  };
  // The more warps a multiprocessor holds at once the better, up to what is wanted; then loads that
  // run ahead; then large blocks.
  const auto rank = [&](int warps, int buffers) {
    constexpr int reserved = 1024;  // of each block, by the driver
    const int resident =
        warps * ((limits.shared_bytes + reserved) / (shared(warps, buffers) + reserved));
    return std::tuple{std::min(resident, wanted_warps_per_multiprocessor), buffers, warps};
  };
  int warps = 1;
  int buffers = 1;
  for (const int given_warps : {1, 2, 4, max_warps})
    for (const int given_buffers : {1, 2})
      if (shared(given_warps, given_buffers) <= limits.shared_bytes &&
          (given_warps == 1 || blocks(given_warps) >= limits.multiprocessors) &&
          rank(given_warps, given_buffers) > rank(warps, buffers)) {
        warps = given_warps;
        buffers = given_buffers;
      }
  const auto columns =
      static_cast<unsigned>(ceil_div(shape.patches, std::int64_t{warps} * patches_per_warp));
  return {{columns, static_cast<unsigned>(groups), static_cast<unsigned>(shape.batch)},
          warps,
          groups,
          buffers,
          shared(warps, buffers)};
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
  if (shape->head_size != 40 && shape->head_size != 64 && shape->head_size != 80 &&
      shape->head_size != 160)
    return message("segfree_attention: head_size is %d, expected 40, 64, 80 or 160",
                   shape->head_size);
  if (const char* error = expect("batch", shape->batch, 1, max_batch))
    return error;
  if (const char* error = expect("heads", shape->heads, 1, max_heads))
    return error;
  if (const char* error = expect("patches", shape->patches, 1, max_patches))
    return error;
  return expect("tokens", shape->tokens, 1, max_tokens);
}
