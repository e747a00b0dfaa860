#include "row_buffer.hpp"

#include <algorithm>
#include <cstring>
#include <string>

#include "fgdm/error.hpp"
#include "half.hpp"

namespace fgdm {

RowBuffer::RowBuffer(DType dtype, std::vector<std::int64_t> row_shape, std::size_t most_rows)
    : dtype_(dtype), row_shape_(std::move(row_shape)) {
  row_bytes_ = dtype_size(dtype);
  for (const auto extent : row_shape_)
    row_bytes_ *= static_cast<std::size_t>(extent);
  data_.resize(most_rows * row_bytes_);
}

TensorView RowBuffer::view(std::size_t rows, std::size_t first) {
  std::vector<std::int64_t> shape{static_cast<std::int64_t>(rows)};
  shape.insert(shape.end(), row_shape_.begin(), row_shape_.end());
  return {dtype_, std::move(shape), data_.data() + first * row_bytes_};
}

std::span<float> RowBuffer::floats(std::size_t rows, std::size_t first) {
  auto* begin = reinterpret_cast<float*>(data_.data() + first * row_bytes_);
  return {begin, rows * row_bytes_ / sizeof(float)};
}

void RowBuffer::copy_row(const RowBuffer& other, std::size_t from, std::size_t to) {
  std::memcpy(data_.data() + to * row_bytes_, other.data_.data() + from * row_bytes_, row_bytes_);
}

void RowBuffer::clear_row(std::size_t row) {
  std::memset(data_.data() + row * row_bytes_, 0, row_bytes_);
}

void RowBuffer::sum(std::span<RowBuffer* const> terms, std::size_t rows, std::size_t first) {
  const auto add = [&]<typename T>(T, auto plus) {
    auto* total = reinterpret_cast<T*>(data_.data() + first * row_bytes_);
    for (std::size_t term = 0; term < terms.size(); ++term) {
      const auto* values =
          reinterpret_cast<const T*>(terms[term]->data_.data() + first * row_bytes_);
      for (std::size_t i = 0; i < rows * row_bytes_ / sizeof(T); ++i)
        total[i] = term == 0 ? values[i] : plus(total[i], values[i]);
    }
  };
  if (dtype_ == DType::float32) {
    add(float{}, [](float a, float b) { return a + b; });
  } else if (dtype_ == DType::float16) {
    add(std::uint16_t{}, [](std::uint16_t a, std::uint16_t b) {
      return float_to_half(half_to_float(a) + half_to_float(b));
    });
  } else {
    throw BundleError("residuals of type " + std::string(dtype_name(dtype_)) +
                      " cannot be added; export the bundle in fp32 or fp16");
  }
}

}  // namespace fgdm
