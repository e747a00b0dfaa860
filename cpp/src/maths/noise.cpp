#include "fgdm/noise.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <numbers>

namespace fgdm {

namespace {

constexpr std::uint32_t multiplier_0 = 0xD2511F53;
constexpr std::uint32_t multiplier_1 = 0xCD9E8D57;
constexpr std::uint32_t key_step_0 = 0x9E3779B9;
constexpr std::uint32_t key_step_1 = 0xBB67AE85;
constexpr int num_rounds = 10;

constexpr std::uint32_t low(std::uint64_t value) {
  return static_cast<std::uint32_t>(value);
}
constexpr std::uint32_t high(std::uint64_t value) {
  return static_cast<std::uint32_t>(value >> 32);
}

std::array<float, 2> box_muller(std::uint32_t even, std::uint32_t odd) {
  const double u = (even + 0.5) * 0x1p-32;
  const double angle = 2.0 * std::numbers::pi * 0x1p-32 * odd;
  const double radius = std::sqrt(-2.0 * std::log(u));
  return {static_cast<float>(radius * std::cos(angle)),
          static_cast<float>(radius * std::sin(angle))};
}

}  // namespace

std::array<std::uint32_t, 4> philox4x32(std::array<std::uint32_t, 4> counter,
                                        std::array<std::uint32_t, 2> key) {
  for (int round = 0; round < num_rounds; ++round) {
    const std::uint64_t product_0 = std::uint64_t{multiplier_0} * counter[0];
    const std::uint64_t product_1 = std::uint64_t{multiplier_1} * counter[2];
    counter = {high(product_1) ^ counter[1] ^ key[0], low(product_1),
               high(product_0) ^ counter[3] ^ key[1], low(product_0)};
    key[0] += key_step_0;
    key[1] += key_step_1;
  }
  return counter;
}

void normal_noise(std::uint64_t seed, std::uint32_t candidate, std::uint32_t factor,
                  std::span<float> out, std::uint32_t draw) {
  for (std::size_t i = 0; i < out.size(); i += 4) {
    const auto words = philox4x32({low(i / 4), draw, candidate, factor}, {low(seed), high(seed)});
    const auto first = box_muller(words[0], words[1]);
    const auto second = box_muller(words[2], words[3]);
    const std::array<float, 4> values = {first[0], first[1], second[0], second[1]};
    std::copy_n(values.begin(), std::min<std::size_t>(4, out.size() - i),
                out.begin() + static_cast<std::ptrdiff_t>(i));
  }
}

}  // namespace fgdm
