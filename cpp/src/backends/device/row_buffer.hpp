#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <ranges>
#include <span>
#include <vector>

#include "device.hpp"
#include "fgdm/session.hpp"

namespace fgdm {

// Rows of a tensor on their way from graph to graph, on a device, in whatever type the graphs have
// for it. A copy has memory of its own, on the same device.
class RowBuffer {
public:
  RowBuffer() = default;

  // `most_rows` rows of zeros, each of `row_shape`.
  RowBuffer(std::shared_ptr<Device> device, DType dtype, std::vector<std::int64_t> row_shape,
            std::size_t most_rows);
  ~RowBuffer();
  RowBuffer(const RowBuffer& other);
  RowBuffer(RowBuffer&& other) noexcept;
  RowBuffer& operator=(RowBuffer other) noexcept;

  // Rows [first, first + rows) as a tensor whose first dimension is the row.
  TensorView view(std::size_t rows, std::size_t first = 0) const;

  const std::vector<std::int64_t>& row_shape() const { return row_shape_; }

  // Where a row lies; on a GPU, it must not be read here.
  std::byte* data(std::size_t row = 0) const { return data_ + row * row_bytes_; }

  // Copies numbers of the buffer's own type in, from row `first` on.
  template <std::ranges::contiguous_range Numbers>
  void write(const Numbers& numbers, std::size_t first = 0) {
    const auto bytes = std::as_bytes(std::span(numbers));
    device_->upload(data(first), bytes.data(), bytes.size());
  }

  // Rows [first, first + rows) as numbers. Only for float32.
  std::vector<float> floats(std::size_t rows, std::size_t first = 0) const;

  // Whether rows [first, first + rows) hold neither NaN nor infinity. For types with a fraction.
  bool is_finite(std::size_t rows, std::size_t first = 0) const;

  // Copies row `from` of another buffer with rows of the same size into row `to`.
  void copy_row(const RowBuffer& other, std::size_t from, std::size_t to);

  // Copies the first row of a buffer of its own type, which has smaller rows, into row `to`, from
  // byte `offset` of it on.
  void copy_part(const RowBuffer& other, std::size_t to, std::size_t offset);

  // Fills row `row` with zeros.
  void clear_row(std::size_t row);

  // Rows [first, first + rows) become the sum of the same rows of several buffers of its own type,
  // float32 or float16.
  void sum(std::span<RowBuffer* const> terms, std::size_t rows, std::size_t first = 0);

  // All of it as an array of that shape, for whoever holds it: the buffer itself is empty then.
  DeviceArray give(std::vector<std::int64_t> shape) &&;

private:
  std::shared_ptr<Device> device_;
  DType dtype_ = DType::float32;
  std::vector<std::int64_t> row_shape_;
  std::size_t row_bytes_ = 0, bytes_ = 0;
  std::byte* data_ = nullptr;
};

}  // namespace fgdm
