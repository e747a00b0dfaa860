#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "fgdm/session.hpp"

namespace fgdm {

// Rows of a tensor on their way from graph to graph, in whatever type the graphs have for it.
class RowBuffer {
public:
  RowBuffer() = default;

  // `most_rows` rows of zeros, each of `row_shape`.
  RowBuffer(DType dtype, std::vector<std::int64_t> row_shape, std::size_t most_rows);

  // Rows [first, first + rows) as a tensor whose first dimension is the row.
  TensorView view(std::size_t rows, std::size_t first = 0);

  // The same as numbers, for what the host computes. Only for float32.
  std::span<float> floats(std::size_t rows, std::size_t first = 0);

  // Copies row `from` of another buffer with rows of the same size into row `to`.
  void copy_row(const RowBuffer& other, std::size_t from, std::size_t to);

  // Fills row `row` with zeros.
  void clear_row(std::size_t row);

  // Rows [first, first + rows) become the sum of the same rows of several buffers of its own type,
  // float32 or float16.
  void sum(std::span<RowBuffer* const> terms, std::size_t rows, std::size_t first = 0);

private:
  DType dtype_ = DType::float32;
  std::vector<std::int64_t> row_shape_;
  std::size_t row_bytes_ = 0;
  std::vector<std::byte> data_;
};

}  // namespace fgdm
