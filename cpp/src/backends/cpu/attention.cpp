#include "attention.hpp"

#include <algorithm>
#include <cstdint>

namespace fgdm::cpu {

std::span<const AttentionKernel> attention_kernels() {
  static const auto found = [] {
    std::vector<AttentionKernel> kernels;
#ifdef __x86_64__
    if (__builtin_cpu_supports("avx512f"))
      kernels.push_back(attention_avx512);
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
      kernels.push_back(attention_avx2);
#endif
    kernels.push_back(attention_baseline);
    return kernels;
  }();
  return found;
}

std::vector<AttentionPart> attention_parts(const fgdm_attention_shape& shape, int threads) {
  // Every part brings keys into its order anew, which costs as much as a few patches.
  constexpr std::int64_t fewest = 64, most = 512;
  constexpr int parts_a_thread = 4;  // so that no thread waits long for another's last
  const auto patches = std::int64_t{shape.batch} * shape.patches;
  const auto wanted = patches / (std::int64_t{parts_a_thread} * std::max(threads, 1));
  const int size = static_cast<int>(std::clamp((wanted + 31) / 32 * 32, fewest, most));
  std::vector<AttentionPart> parts;
  for (int row = 0; row < shape.batch; ++row)
    for (int first = 0; first < shape.patches; first += size)
      parts.push_back({row, first, std::min(size, shape.patches - first)});
  return parts;
}

}  // namespace fgdm::cpu
