// The plugin's rules must let a graph in exactly where the kernel can run it: a wrong type or shape
// that slips through reads beyond a tensor on the device.
#include "attention_rules.hpp"

#include <gtest/gtest.h>

#include <stdexcept>
#include <vector>

namespace fgdm::plugin {
namespace {

using Inputs = std::array<Extents, num_inputs>;

// Stable Diffusion 1.5's cross-attention at 64x64, two rows.
Inputs sd15() {
  return {Extents{4, {2, 8, 4096, 40}}, Extents{4, {2, 8, 77, 40}}, Extents{4, {2, 8, 77, 40}},
          Extents{1, {2}}, Extents{2, {2, 77}}};
}

// The answer for position n of a node whose tensors have these types, all linear.
std::vector<bool> answers(std::vector<ElementType> types, ElementType mask_type) {
  std::vector<Proposal> proposals;
  std::vector<bool> found;
  for (const auto type : types) {
    proposals.push_back({type, true});
    found.push_back(accepts(proposals, mask_type));
  }
  return found;
}

constexpr auto f32 = ElementType::float32;
constexpr auto f16 = ElementType::float16;
constexpr auto bf16 = ElementType::bfloat16;
constexpr auto boolean = ElementType::boolean;
constexpr auto int32 = ElementType::int32;

TEST(AttentionRules, TakesTheThreeFloatTypesWithAFloat32ScaleAndABooleanMask) {
  const std::vector<bool> all(6, true);
  for (const auto type : {f32, f16, bf16})
    EXPECT_EQ(answers({type, type, type, f32, boolean, type}, boolean), all);
  EXPECT_EQ(answers({f16, f16, f16, f32, int32, f16}, int32), all);  // TensorRT 8
}

TEST(AttentionRules, RefusesEachTensorOfAnotherType) {
  const auto fails_at = [](std::vector<ElementType> types) {
    const auto found = answers(std::move(types), boolean);
    for (std::size_t i = 0; i < found.size(); ++i)
      if (!found[i])
        return static_cast<int>(i);
    return -1;
  };
  EXPECT_EQ(fails_at({int32, f16, f16, f32, boolean, f16}), position_q);
  EXPECT_EQ(fails_at({f16, f32, f16, f32, boolean, f16}), position_k);
  EXPECT_EQ(fails_at({f16, f16, bf16, f32, boolean, f16}), position_v);
  EXPECT_EQ(fails_at({f16, f16, f16, f16, boolean, f16}), position_scale);
  EXPECT_EQ(fails_at({f16, f16, f16, f32, int32, f16}), position_mask);
  EXPECT_EQ(fails_at({f16, f16, f16, f32, boolean, f32}), position_out);
}

TEST(AttentionRules, RefusesFormatsThatAreNotRowMajor) {
  const std::vector<Proposal> q{{f16, false}};
  EXPECT_FALSE(accepts(q, boolean));
  const std::vector<Proposal> k{{f16, true}, {f16, false}};
  EXPECT_FALSE(accepts(k, boolean));
}

TEST(AttentionRules, MakesTheKernelsShape) {
  auto inputs = sd15();
  inputs[position_k].values[2] = inputs[position_v].values[2] = inputs[position_mask].values[1] =
      50;
  const auto shape = attention_shape(inputs, bf16, FGDM_ARGMAX_PER_HEAD);
  EXPECT_EQ(shape.batch, 2);
  EXPECT_EQ(shape.heads, 8);
  EXPECT_EQ(shape.patches, 4096);
  EXPECT_EQ(shape.tokens, 50);
  EXPECT_EQ(shape.head_size, 40);
  EXPECT_EQ(shape.dtype, FGDM_BFLOAT16);
  EXPECT_EQ(shape.argmax, FGDM_ARGMAX_PER_HEAD);
}

TEST(AttentionRules, EveryExtentThatMustAgreeIsCompared) {
  EXPECT_EQ(problem_of(sd15()), "");
  int refused = 0;
  for (std::size_t input = 0; input < num_inputs; ++input)
    for (int dimension = 0; dimension < sd15()[input].rank; ++dimension) {
      auto inputs = sd15();
      inputs[input].values[static_cast<std::size_t>(dimension)] += 1;
      const bool is_patches = input == position_q && dimension == 2;  // free
      EXPECT_EQ(problem_of(inputs).empty(), is_patches) << input << ' ' << dimension;
      refused += is_patches ? 0 : 1;
    }
  EXPECT_EQ(refused, 14);
}

TEST(AttentionRules, UnknownExtentsFitAnythingAndRanksAreChecked) {
  auto inputs = sd15();
  for (auto& input : inputs)
    input.values[0] = -1;
  inputs[position_q].values[0] = 20;
  EXPECT_EQ(problem_of(inputs), "");
  inputs[position_mask].rank = 3;
  EXPECT_NE(problem_of(inputs).find("argmax_mask"), std::string::npos);
  EXPECT_THROW(attention_shape(inputs, f16, FGDM_ARGMAX_MEAN), std::invalid_argument);
  EXPECT_THROW(attention_shape(sd15(), int32, FGDM_ARGMAX_MEAN), std::invalid_argument);
}

TEST(AttentionRules, AnUnknownExtentIsNoShape) {
  auto inputs = sd15();
  inputs[position_q].values[2] = -1;
  EXPECT_THROW(attention_shape(inputs, f16, FGDM_ARGMAX_MEAN), std::invalid_argument);
}

TEST(AttentionRules, ReadsTheAttributeWithOrWithoutItsTerminatingZero) {
  EXPECT_EQ(argmax_from_name("mean"), FGDM_ARGMAX_MEAN);
  EXPECT_EQ(argmax_from_name("per_head"), FGDM_ARGMAX_PER_HEAD);
  EXPECT_EQ(argmax_from_name(std::string_view("per_head\0", 9)), FGDM_ARGMAX_PER_HEAD);
  EXPECT_EQ(argmax_from_name("median"), std::nullopt);
  EXPECT_EQ(argmax_from_name(""), std::nullopt);
}

TEST(AttentionRules, WhatAPlanKeepsComesBackAndNothingElseDoes) {
  for (const auto argmax : {FGDM_ARGMAX_MEAN, FGDM_ARGMAX_PER_HEAD})
    EXPECT_EQ(deserialize(serialize(argmax)), argmax);
  const auto bytes = serialize(FGDM_ARGMAX_MEAN);
  EXPECT_THROW(deserialize(std::span(bytes).first(8)), std::invalid_argument);
  for (const std::size_t word : {0U, 4U, 8U}) {
    auto damaged = bytes;
    damaged[word] = std::byte{0x7F};
    EXPECT_THROW(deserialize(damaged), std::invalid_argument);
  }
}

TEST(AttentionRules, TimingsOfTheTwoChoicesAreKeptApart) {
  EXPECT_STRNE(timing_cache_id(FGDM_ARGMAX_MEAN), timing_cache_id(FGDM_ARGMAX_PER_HEAD));
}

}  // namespace
}  // namespace fgdm::plugin
