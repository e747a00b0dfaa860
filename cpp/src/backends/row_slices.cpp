#include "row_slices.hpp"

#include <algorithm>

#include "fgdm/manifest.hpp"

namespace fgdm {

std::int64_t rows_at_once(std::span<const NamedTensor> inputs) {
  constexpr std::int64_t most_cells = 64 * 64;
  std::int64_t cells = 1;
  for (const auto& [name, tensor] : inputs)
    if (tensor.shape.size() == 4)
      cells = std::max(cells, tensor.shape[2] * tensor.shape[3]);
  // Rounding down twice admits no more than the square of the ratio.
  return cells > most_cells ? 1 : (most_cells / cells) * (most_cells / cells);
}

std::vector<NamedTensor> rows_of(std::span<const NamedTensor> tensors, std::int64_t first,
                                 std::int64_t count) {
  std::vector<NamedTensor> cut(tensors.begin(), tensors.end());
  for (auto& [name, tensor] : cut) {
    if (!has_rows(name))
      continue;
    const auto row_bytes = tensor.bytes() / static_cast<std::size_t>(tensor.shape.front());
    tensor.data = static_cast<char*>(tensor.data) + static_cast<std::size_t>(first) * row_bytes;
    tensor.shape.front() = count;
  }
  return cut;
}

}  // namespace fgdm
