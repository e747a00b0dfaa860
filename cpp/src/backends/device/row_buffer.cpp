#include "row_buffer.hpp"

#include <algorithm>
#include <string>
#include <utility>

#include "fgdm/error.hpp"

namespace fgdm {

RowBuffer::RowBuffer(std::shared_ptr<Device> device, DType dtype,
                     std::vector<std::int64_t> row_shape, std::size_t most_rows)
    : device_(std::move(device)), dtype_(dtype), row_shape_(std::move(row_shape)) {
  row_bytes_ = dtype_size(dtype);
  for (const auto extent : row_shape_)
    row_bytes_ *= static_cast<std::size_t>(extent);
  bytes_ = most_rows * row_bytes_;
  data_ = device_->allocate(bytes_);
}

RowBuffer::~RowBuffer() {
  if (device_)
    device_->release(data_, bytes_);
}

RowBuffer::RowBuffer(const RowBuffer& other) : RowBuffer() {
  if (!other.device_)
    return;
  RowBuffer made(other.device_, other.dtype_, other.row_shape_, other.bytes_ / other.row_bytes_);
  *this = std::move(made);
  device_->copy(data_, other.data_, bytes_);
}

RowBuffer::RowBuffer(RowBuffer&& other) noexcept
    : device_(std::move(other.device_)), dtype_(other.dtype_),
      row_shape_(std::move(other.row_shape_)), row_bytes_(other.row_bytes_), bytes_(other.bytes_),
      data_(std::exchange(other.data_, nullptr)) {}

RowBuffer& RowBuffer::operator=(RowBuffer other) noexcept {
  std::swap(device_, other.device_);
  std::swap(dtype_, other.dtype_);
  std::swap(row_shape_, other.row_shape_);
  std::swap(row_bytes_, other.row_bytes_);
  std::swap(bytes_, other.bytes_);
  std::swap(data_, other.data_);
  return *this;
}

TensorView RowBuffer::view(std::size_t rows, std::size_t first) const {
  std::vector<std::int64_t> shape{static_cast<std::int64_t>(rows)};
  shape.insert(shape.end(), row_shape_.begin(), row_shape_.end());
  return {dtype_, std::move(shape), data(first), device_->place()};
}

std::vector<float> RowBuffer::floats(std::size_t rows, std::size_t first) const {
  std::vector<float> values(rows * row_bytes_ / sizeof(float));
  device_->download(values.data(), data(first), rows * row_bytes_);
  return values;
}

bool RowBuffer::is_finite(std::size_t rows, std::size_t first) const {
  if (dtype_ == DType::float32)
    return all_finite(floats(rows, first));
  // What is not finite has all bits of the exponent.
  const std::uint16_t exponent = dtype_ == DType::bfloat16 ? 0x7F80 : 0x7C00;
  std::vector<std::uint16_t> values(rows * row_bytes_ / sizeof(std::uint16_t));
  device_->download(values.data(), data(first), rows * row_bytes_);
  return std::ranges::none_of(
      values, [exponent](std::uint16_t value) { return (value & exponent) == exponent; });
}

void RowBuffer::copy_row(const RowBuffer& other, std::size_t from, std::size_t to) {
  device_->copy(data(to), other.data(from), row_bytes_);
}

void RowBuffer::copy_part(const RowBuffer& other, std::size_t to, std::size_t offset) {
  device_->copy(data(to) + offset, other.data(), other.row_bytes_);
}

void RowBuffer::clear_row(std::size_t row) {
  device_->clear(data(row), row_bytes_);
}

DeviceArray RowBuffer::give(std::vector<std::int64_t> shape) && {
  const auto device = std::exchange(device_, nullptr);
  return {dtype_, std::move(shape), device->give(std::exchange(data_, nullptr), bytes_)};
}

void RowBuffer::sum(std::span<RowBuffer* const> terms, std::size_t rows, std::size_t first) {
  if (dtype_ != DType::float32 && dtype_ != DType::float16)
    throw BundleError("residuals of type " + std::string(dtype_name(dtype_)) +
                      " cannot be added; export the bundle in fp32 or fp16");
  const auto bytes = rows * row_bytes_;
  device_->copy(data(first), terms.front()->data(first), bytes);
  for (const auto* term : terms.subspan(1))
    device_->add(dtype_, data(first), term->data(first), bytes / dtype_size(dtype_));
}

}  // namespace fgdm
