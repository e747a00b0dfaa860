// What passes from graph to graph may be float16: converting and adding it must round as the
// standard says, and rows must land where the batch expects them.
#include "row_buffer.hpp"

#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <limits>

#include "fgdm/error.hpp"
#include "half.hpp"

namespace fgdm {
namespace {

TEST(Half, EveryHalfComesBackAndLiesInOrder) {
  float previous = -1;
  for (std::uint32_t bits = 0; bits < 0x7C00; ++bits) {
    const float value = half_to_float(static_cast<std::uint16_t>(bits));
    ASSERT_GT(value, previous);
    ASSERT_EQ(float_to_half(value), bits);
    ASSERT_EQ(float_to_half(-value), bits | 0x8000U);
    previous = value;
  }
  EXPECT_EQ(previous, 65504.0F);
  EXPECT_EQ(half_to_float(1), std::ldexp(1.0F, -24));
  EXPECT_EQ(half_to_float(0x3C00), 1.0F);
}

TEST(Half, RoundsToTheNearestAndTiesToEven) {
  for (std::uint32_t bits = 0; bits < 0x7BFF; ++bits) {
    const float low = half_to_float(static_cast<std::uint16_t>(bits));
    const float high = half_to_float(static_cast<std::uint16_t>(bits + 1));
    const float middle = (low + high) / 2;  // exact in float
    ASSERT_EQ(float_to_half(middle), bits % 2 == 0 ? bits : bits + 1) << low;
    ASSERT_EQ(float_to_half(std::nextafter(middle, low)), bits) << low;
    ASSERT_EQ(float_to_half(std::nextafter(middle, high)), bits + 1) << low;
  }
}

TEST(Half, WhatDoesNotFitIsInfiniteAndNanStaysNan) {
  EXPECT_EQ(float_to_half(65519.0F), 0x7BFF);
  EXPECT_EQ(float_to_half(65520.0F), 0x7C00);
  EXPECT_EQ(float_to_half(-std::numeric_limits<float>::infinity()), 0xFC00);
  EXPECT_TRUE(std::isnan(half_to_float(float_to_half(std::nanf("")))));
}

TEST(RowBuffer, KnowsWhatIsNotFinite) {
  const auto finite_with = [](DType dtype, const auto& numbers) {
    RowBuffer buffer(host_device(), dtype, {2}, 2);
    buffer.write(numbers);
    return std::pair(buffer.is_finite(1), buffer.is_finite(2));
  };
  using Halves = std::array<std::uint16_t, 4>;
  const std::pair second_row_spoiled(true, false), fine(true, true);
  for (const float bad : {NAN, INFINITY, -INFINITY})
    EXPECT_EQ(finite_with(DType::float32, std::array{1.0F, -3e38F, 0.0F, bad}), second_row_spoiled);
  EXPECT_EQ(finite_with(DType::float32, std::array{1.0F, -3e38F, 0.0F, 1e-40F}), fine);
  EXPECT_EQ(finite_with(DType::float16, Halves{0x3C00, 0xFBFF, 0, 0x7C00}), second_row_spoiled);
  EXPECT_EQ(finite_with(DType::float16, Halves{0x3C00, 0xFBFF, 0, 0x7BFF}), fine);
  EXPECT_EQ(finite_with(DType::bfloat16, Halves{0x3F80, 0xFF7F, 0, 0xFF81}), second_row_spoiled);
  EXPECT_EQ(finite_with(DType::bfloat16, Halves{0x3F80, 0xFF7F, 0, 0x7C00}), fine);
}

TEST(RowBuffer, CopiesRowsWithinItself) {
  RowBuffer buffer(host_device(), DType::float32, {2}, 4);
  const std::array<float, 4> two_rows{1, 2, 3, 4};
  buffer.write(two_rows);
  for (const std::size_t row : {0U, 1U})
    buffer.copy_row(buffer, row, 2 + row);
  EXPECT_EQ(buffer.floats(4), (std::vector<float>{1, 2, 3, 4, 1, 2, 3, 4}));
  EXPECT_EQ(buffer.view(3, 1).shape, (std::vector<std::int64_t>{3, 2}));
  EXPECT_EQ(static_cast<const float*>(buffer.view(1, 1).data)[0], 3);
}

TEST(RowBuffer, ACopyHasMemoryOfItsOwn) {
  RowBuffer buffer(host_device(), DType::float32, {1}, 2);
  const std::array<float, 2> rows{1, 2};
  buffer.write(rows);
  RowBuffer copy = buffer;
  buffer.clear_row(1);
  EXPECT_EQ(copy.floats(2), (std::vector<float>{1, 2}));
  const RowBuffer moved = std::move(copy);
  copy = buffer;
  EXPECT_EQ(copy.floats(2), (std::vector<float>{1, 0}));
  EXPECT_EQ(moved.floats(2), (std::vector<float>{1, 2}));
}

TEST(RowBuffer, AddsInItsOwnType) {
  const auto halves = [](float first, float second) {
    RowBuffer buffer(host_device(), DType::float16, {2}, 1);
    const std::array<std::uint16_t, 2> bits{float_to_half(first), float_to_half(second)};
    buffer.write(bits);
    return buffer;
  };
  auto total = halves(7.0F, 7.0F), a = halves(1.0F, -0.25F), b = halves(0.5F, 1024.0F);
  const std::array<RowBuffer*, 2> terms{&a, &b};
  total.sum(terms, 1);
  const auto* sums = static_cast<const std::uint16_t*>(total.view(1).data);
  EXPECT_EQ(half_to_float(sums[0]), 1.5F);
  EXPECT_EQ(half_to_float(sums[1]), half_to_float(float_to_half(1023.75F)));

  RowBuffer whole(host_device(), DType::int32, {2}, 1);
  const std::array<RowBuffer*, 1> itself{&whole};
  EXPECT_THROW(whole.sum(itself, 1), BundleError);
}

}  // namespace
}  // namespace fgdm
