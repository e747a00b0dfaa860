// The source of the attention kernel, run on the CPU thread by thread, against float64.

#include <cmath>
#include <limits>
#include <vector>

#include <gtest/gtest.h>

#include "attention_case.hpp"
#include "attention_plan.hpp"
#include "block_emulator.hpp"
#include "segfree_attention.hpp"

namespace fgdm::kernels::test {
namespace {

constexpr DeviceLimits small_device{2, 64 * 1024};  // sm_75's shared memory

template <typename T, int kHeadSize, int kTokenTiles>
std::vector<double> run_variant(const AttentionCase& given, const AttentionPlan& plan) {
  const auto q = stored<T>(given.q);
  const auto k = stored<T>(given.k);
  const auto v = stored<T>(given.v);
  std::vector<T> out(q.size(), from_double<T>(std::numeric_limits<double>::quiet_NaN()));
  const fgdm_attention_shape& shape = given.shape;
  const AttentionArguments arguments =
      attention_arguments(shape, plan,
                          {q.data(), k.data(), v.data(), given.attn_scale.data(),
                           given.argmax_mask.data(), out.data()});
  emulate({plan.grid, plan.warps, plan.shared_bytes, 7}, [&](EmulatedThread& thread) {
    AttentionThread<AttentionVariant<T, kHeadSize, kTokenTiles>, EmulatedThread>(thread, arguments)
        .run();
  });
  return widened(out);
}

template <typename T, int kHeadSize>
std::vector<double> run_head_size(const AttentionCase& given, const AttentionPlan& plan) {
  return token_tiles(given.shape.tokens) == short_token_tiles
             ? run_variant<T, kHeadSize, short_token_tiles>(given, plan)
             : run_variant<T, kHeadSize, long_token_tiles>(given, plan);
}

std::vector<double> run(const AttentionCase& given, const AttentionPlan& plan) {
  return with_type(given.shape.dtype, [&]<typename T>(T) {
    switch (given.shape.head_size) {
    case 32:
      return run_head_size<T, 32>(given, plan);
    case 40:
      return run_head_size<T, 40>(given, plan);
    case 64:
      return run_head_size<T, 64>(given, plan);
    case 80:
      return run_head_size<T, 80>(given, plan);
    default:
      return run_head_size<T, 160>(given, plan);
    }
  });
}

std::string check(const AttentionCase& given, const DeviceLimits& limits = small_device) {
  return compare(given, run(given, plan_attention(given.shape, limits)));
}

// Protects the kernel at every head size and kind of number.
TEST(SegfreeAttentionEmulation, MatchesFloat64AtEveryHeadSizeAndType) {
  for (const fgdm_dtype dtype : {FGDM_FLOAT16, FGDM_BFLOAT16, FGDM_FLOAT32})
    for (const int head_size : {32, 40, 64, 80, 160}) {
      SCOPED_TRACE("dtype " + std::to_string(dtype) + ", head size " + std::to_string(head_size));
      const fgdm_attention_shape shape{2, 2, 17, 77, head_size, dtype, FGDM_ARGMAX_MEAN};
      EXPECT_EQ(check(random_case(shape, 1)), "");
    }
}

// Protects rows beyond the last patch and tokens beyond the last token.
TEST(SegfreeAttentionEmulation, MatchesFloat64AtOddSizes) {
  for (const int tokens : {1, 2, 8, 48, 80, 81, 128})
    for (const int patches : {1, 15, 17, 70}) {
      SCOPED_TRACE(std::to_string(tokens) + " tokens, " + std::to_string(patches) + " patches");
      const fgdm_attention_shape shape{1, 1, patches, tokens, 40, FGDM_FLOAT16, FGDM_ARGMAX_MEAN};
      EXPECT_EQ(check(random_case(shape, 2)), "");
    }
}

// Protects the choice of the strongest token and the numbers around it.
TEST(SegfreeAttentionEmulation, MatchesFloat64OnAdversarialInputs) {
  for (const fgdm_dtype dtype : {FGDM_FLOAT16, FGDM_BFLOAT16, FGDM_FLOAT32})
    for (const fgdm_argmax argmax : {FGDM_ARGMAX_MEAN, FGDM_ARGMAX_PER_HEAD})
      for (const AttentionCase& given : adversarial_cases(dtype, argmax)) {
        SCOPED_TRACE("dtype " + std::to_string(dtype) + ", argmax " + std::to_string(argmax));
        EXPECT_EQ(check(given), "");
      }
}

// Protects the judge of all these: one wrong number in a row is found, also where two tokens nearly
// tie.
TEST(SegfreeAttentionEmulation, AWrongRowIsFound) {
  for (const AttentionCase& given : adversarial_cases(FGDM_FLOAT16, FGDM_ARGMAX_MEAN)) {
    const auto right = run(given, plan_attention(given.shape, small_device));
    const auto size = static_cast<std::size_t>(given.shape.head_size);
    for (std::size_t row = 0; row < right.size() / size; row += 23) {
      auto wrong = right;
      wrong[row * size] += 1.0 + std::abs(wrong[row * size]);
      EXPECT_NE(compare(given, wrong), "") << given.name << ", row " << row;
    }
  }
}

// Protects every way the work can be spread: one buffer and two, heads split over blocks evenly or
// not, one warp to six.
TEST(SegfreeAttentionEmulation, DoesNotDependOnTheSpread) {
  const fgdm_attention_shape shape{1, 5, 18, 77, 40, FGDM_FLOAT16, FGDM_ARGMAX_MEAN};
  const AttentionCase given = random_case(shape, 3);
  std::vector<double> first;
  for (const int warps : {1, 2, 6})
    for (const int groups : {1, 3})
      for (const int buffers : {1, 2}) {
        SCOPED_TRACE(std::to_string(warps) + " warps, " + std::to_string(groups) + " groups, " +
                     std::to_string(buffers) + " buffers");
        const auto columns = static_cast<unsigned>((18 + 16 * warps - 1) / (16 * warps));
        const AttentionPlan plan{
            {columns, static_cast<unsigned>(groups), 1}, warps,    groups, buffers,
            shared_bytes(56, 80, warps, buffers),        64 * 1024};
        const auto out = run(given, plan);
        if (first.empty()) {
          first = out;
          EXPECT_EQ(compare(given, out), "");
        }
        EXPECT_EQ(out, first);
      }
}

// Protects plain attention: with scale 1 the mask and the argmax have no say.
TEST(SegfreeAttentionEmulation, ScaleOneIsPlainAttentionBitForBit) {
  fgdm_attention_shape shape{1, 4, 16, 77, 64, FGDM_FLOAT16, FGDM_ARGMAX_MEAN};
  AttentionCase given = random_case(shape, 4);
  given.attn_scale = {1.0F};
  const AttentionPlan plan = plan_attention(shape, small_device);
  const auto plain = run(given, plan);
  EXPECT_EQ(compare(given, plain), "");
  given.argmax_mask.assign(given.argmax_mask.size(), 0);
  EXPECT_EQ(run(given, plan), plain);
  given.attn_scale = {-10.0F};  // nothing allowed: plain as well
  EXPECT_EQ(run(given, plan), plain);
}

// Protects the emulation itself: without its barrier a block must be caught.
TEST(BlockEmulator, SharedMemoryThatIsNotThereYetIsNotANumber) {
  std::vector<float> out(64);
  std::vector<Vector16> source(64);
  const auto kernel = [&](bool waits) {
    return [&, waits](EmulatedThread& thread) {
      const int index = lanes * thread.warp() + thread.lane();
      auto* shared = reinterpret_cast<Vector16*>(thread.shared());
      thread.copy16(shared + index, source.data() + index);
      if (waits)
        thread.wait_copies();
      thread.sync_block();
      std::memcpy(&out[static_cast<std::size_t>(index)], shared + (index + 32) % 64, 4);
      thread.sync_block();
      thread.wait_copies();
    };
  };
  emulate({{1, 1, 1}, 2, 1024, 0}, kernel(true));
  for (const float value : out)
    EXPECT_EQ(value, 0.0F);
  emulate({{1, 1, 1}, 2, 1024, 0}, kernel(false));
  for (const float value : out)
    EXPECT_TRUE(std::isnan(value));
}

// Protects the emulation itself: the product of an mma, against the matrices it stands for.
TEST(BlockEmulator, MmaMultipliesTheMatricesOfItsFragments) {
  // A[r][k] = r + 16 k (small integers are exact), B[k][n] = 1 where k == n: D[r][n] = A[r][n].
  std::vector<float> product(16 * 8, -1.0F);
  emulate({{1, 1, 1}, 1, 0, 0}, [&](EmulatedThread& thread) {
    const int group = thread.lane() / 4;
    const int pair = 2 * (thread.lane() % 4);
    const auto a = [&](int row, int k) {
      return thread.pack<Float16>(static_cast<float>(row + 16 * k),
                                  static_cast<float>(row + 16 * (k + 1)));
    };
    const auto b = [&](int k) {
      return thread.pack<Float16>(k == group ? 1.0F : 0.0F, k + 1 == group ? 1.0F : 0.0F);
    };
    const std::uint32_t left[4] = {a(group, pair), a(group + 8, pair), a(group, pair + 8),
                                   a(group + 8, pair + 8)};
    float sums[4] = {};
    thread.mma<Float16>(sums, left, b(pair), b(pair + 8));
    for (int i = 0; i < 4; ++i)
      product[static_cast<std::size_t>((group + (i < 2 ? 0 : 8)) * 8 + pair + i % 2)] = sums[i];
  });
  for (int row = 0; row < 16; ++row)
    for (int column = 0; column < 8; ++column)
      EXPECT_EQ(product[static_cast<std::size_t>(row * 8 + column)],
                static_cast<float>(row + 16 * column));
}

}  // namespace
}  // namespace fgdm::kernels::test
