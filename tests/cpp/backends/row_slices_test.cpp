// Calls are cut into rows where memory is short.
#include "row_slices.hpp"

#include <gtest/gtest.h>

#include <array>
#include <numeric>

namespace fgdm {
namespace {

std::int64_t rows_for(std::int64_t height, std::int64_t width) {
  const std::array inputs{NamedTensor{"sample", {DType::float32, {8, 4, height, width}, nullptr}},
                          NamedTensor{"residual", {DType::float32, {8, 320, 8, 8}, nullptr}},
                          NamedTensor{"timestep", {DType::float32, {8}, nullptr}}};
  return rows_at_once(inputs);
}

TEST(RowSlices, AreAsManyAsHaveTheScoresOfOneLargeRow) {
  EXPECT_EQ(rows_for(64, 64), 1);
  EXPECT_EQ(rows_for(32, 32), 16);
  EXPECT_EQ(rows_for(64, 32), 4);
  EXPECT_EQ(rows_for(96, 96), 1) << "one at least";
  const NamedTensor ids{"input_ids", {DType::int64, {20, 77}, nullptr}};
  EXPECT_GE(rows_at_once({&ids, 1}), 20) << "texts have no cells";
}

TEST(RowSlices, AreThoseRowsOfEveryTensorInTheSameMemory) {
  std::vector<float> sample(4 * 2 * 3 * 3);
  std::iota(sample.begin(), sample.end(), 0.0F);
  std::vector<std::uint8_t> mask{0, 1, 2, 3, 4, 5, 6, 7};
  const std::array tensors{NamedTensor{"sample", {DType::float32, {4, 2, 3, 3}, sample.data()}},
                           NamedTensor{"mask", {DType::boolean, {4, 2}, mask.data()}}};
  const auto cut = rows_of(tensors, 1, 2);
  ASSERT_EQ(cut.size(), 2U);
  EXPECT_EQ(cut[0].name, "sample");
  EXPECT_EQ(cut[0].tensor.shape, (std::vector<std::int64_t>{2, 2, 3, 3}));
  EXPECT_EQ(cut[0].tensor.data, sample.data() + 18);
  EXPECT_EQ(cut[1].tensor.shape, (std::vector<std::int64_t>{2, 2}));
  EXPECT_EQ(cut[1].tensor.data, mask.data() + 2);
}

TEST(RowSlices, HaveTheMatricesOfLorasWhole) {
  std::vector<float> down(4 * 3), scale(4 * 3);
  const std::array tensors{NamedTensor{"lora_down", {DType::float32, {4, 3}, down.data()}},
                           NamedTensor{"lora_up", {DType::float32, {4, 3}, down.data()}},
                           NamedTensor{"lora_scale", {DType::float32, {4, 3}, scale.data()}}};
  const auto cut = rows_of(tensors, 2, 1);
  for (const auto i : {0U, 1U}) {
    EXPECT_EQ(cut[i].tensor.shape, (std::vector<std::int64_t>{4, 3}));
    EXPECT_EQ(cut[i].tensor.data, down.data());
  }
  EXPECT_EQ(cut[2].tensor.shape, (std::vector<std::int64_t>{1, 3}));
  EXPECT_EQ(cut[2].tensor.data, scale.data() + 6);
}

}  // namespace
}  // namespace fgdm
