// How attention is spread over a device, and what shapes are refused. Needs no device.

#include "attention_plan.hpp"

#include <string>

#include <gtest/gtest.h>

namespace fgdm::kernels {
namespace {

// From NVIDIA's tables of compute capabilities: shared memory that one block can have.
constexpr DeviceLimits turing{40, 64 * 1024};
constexpr DeviceLimits ada{128, 99 * 1024};
constexpr DeviceLimits hopper{132, 227 * 1024};

// Protects every shape from a launch that the device refuses, or that leaves patches out.
TEST(AttentionPlan, CoversEveryPatchWithinTheLimits) {
  for (const DeviceLimits& limits : {turing, ada, hopper})
    for (const int head_size : {32, 40, 64, 80, 160})
      for (const int tokens : {1, 77, 80, 81, 128})
        for (const int patches : {1, 64, 100, 4096, 9216})
          for (const int heads : {1, 8, 16})
            for (const int batch : {1, 2, 20}) {
              const fgdm_attention_shape shape{batch,     heads,        patches,         tokens,
                                               head_size, FGDM_FLOAT16, FGDM_ARGMAX_MEAN};
              ASSERT_EQ(fgdm_segfree_attention_check(&shape), nullptr);
              const AttentionPlan plan = plan_attention(shape, limits);
              EXPECT_LE(plan.shared_bytes, limits.shared_bytes);
              EXPECT_EQ(plan.shared_limit, limits.shared_bytes);
              EXPECT_TRUE(plan.warps >= 1 && plan.warps <= max_warps);
              EXPECT_TRUE(plan.buffers == 1 || plan.buffers == 2);
              EXPECT_GE(static_cast<int>(plan.grid.x) * plan.warps * patches_per_warp, patches);
              EXPECT_EQ(plan.grid.z, static_cast<unsigned>(batch));
              ASSERT_EQ(plan.grid.y, static_cast<unsigned>(plan.head_groups));
              int next = 0;
              for (int group = 0; group < plan.head_groups; ++group) {
                const HeadRange range = head_range(heads, plan.head_groups, group);
                EXPECT_EQ(range.first, next);
                EXPECT_GT(range.last, range.first);
                next = range.last;
              }
              EXPECT_EQ(next, heads);
            }
}

// Protects small pictures from leaving most of a large device idle, and large ones from repeating
// the first pass.
TEST(AttentionPlan, SplitsHeadsOnlyWherePatchesAreFew) {
  const fgdm_attention_shape small{2, 8, 64, 77, 160, FGDM_FLOAT16, FGDM_ARGMAX_MEAN};
  EXPECT_EQ(plan_attention(small, hopper).head_groups, 8);
  const fgdm_attention_shape large{20, 8, 4096, 77, 40, FGDM_FLOAT16, FGDM_ARGMAX_MEAN};
  EXPECT_EQ(plan_attention(large, hopper).head_groups, 1);
  EXPECT_EQ(plan_attention(large, hopper).warps, max_warps);
}

// Protects the warps of a block from waiting for all loads by themselves, wherever there are
// patches for more than one.
TEST(AttentionPlan, WarpsShareLoadsAndLoadsRunAhead) {
  for (const DeviceLimits& limits : {ada, hopper})
    for (const auto& [patches, head_size] :
         {std::pair{4096, 40}, {1024, 80}, {256, 160}, {64, 160}})
      for (const int batch : {2, 20}) {
        const fgdm_attention_shape shape{batch,           8, patches, 77, head_size, FGDM_FLOAT16,
                                         FGDM_ARGMAX_MEAN};
        const auto plan = plan_attention(shape, limits);
        SCOPED_TRACE(std::to_string(patches) + " patches, batch " + std::to_string(batch) + ", " +
                     std::to_string(limits.multiprocessors) + " multiprocessors");
        EXPECT_GE(plan.warps, 2);
        EXPECT_TRUE(plan.buffers == 2 || limits.shared_bytes < 100 * 1024);
      }
}

TEST(AttentionCheck, NamesWhatIsAndWhatWasExpected) {
  const fgdm_attention_shape good{2, 8, 64, 77, 40, FGDM_FLOAT16, FGDM_ARGMAX_MEAN};
  EXPECT_EQ(fgdm_segfree_attention_check(&good), nullptr);
  EXPECT_STREQ(fgdm_segfree_attention_check(nullptr), "segfree_attention: the shape is NULL");
  fgdm_attention_shape bad = good;
  bad.tokens = 129;
  EXPECT_STREQ(fgdm_segfree_attention_check(&bad),
               "segfree_attention: tokens is 129, expected 1 to 128");
  bad = good;
  bad.head_size = 48;
  EXPECT_STREQ(fgdm_segfree_attention_check(&bad),
               "segfree_attention: head_size is 48, expected 32, 40, 64, 80 or 160");
  bad = good;
  bad.heads = 17;
  EXPECT_STREQ(fgdm_segfree_attention_check(&bad),
               "segfree_attention: heads is 17, expected 1 to 16");
  bad = good;
  bad.dtype = static_cast<fgdm_dtype>(3);
  EXPECT_NE(fgdm_segfree_attention_check(&bad), nullptr);
}

}  // namespace
}  // namespace fgdm::kernels
