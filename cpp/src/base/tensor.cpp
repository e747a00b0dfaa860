#include "fgdm/tensor.hpp"

#include <array>
#include <utility>

#include "fgdm/device_array.hpp"
#include "fgdm/error.hpp"

namespace fgdm {
namespace {

struct DTypeFacts {
  DType dtype;
  std::string_view name;
  std::size_t size;
};

constexpr std::array<DTypeFacts, 7> dtypes{{{DType::float32, "float32", 4},
                                            {DType::float16, "float16", 2},
                                            {DType::bfloat16, "bfloat16", 2},
                                            {DType::int64, "int64", 8},
                                            {DType::int32, "int32", 4},
                                            {DType::uint8, "uint8", 1},
                                            {DType::boolean, "bool", 1}}};

std::size_t product(const std::vector<std::int64_t>& shape) {
  std::size_t count = 1;
  for (const auto extent : shape)
    count *= static_cast<std::size_t>(extent);
  return count;
}

}  // namespace

std::string_view dtype_name(DType dtype) {
  return dtypes[static_cast<std::size_t>(dtype)].name;
}

std::size_t dtype_size(DType dtype) {
  return dtypes[static_cast<std::size_t>(dtype)].size;
}

DType dtype_from_name(std::string_view name) {
  for (const auto& facts : dtypes)
    if (facts.name == name)
      return facts.dtype;
  throw BundleError("the manifest names the element type \"" + std::string(name) +
                    "\", which this version does not know; export the bundle again");
}

std::size_t TensorView::elements() const {
  return product(shape);
}

std::size_t TensorView::bytes() const {
  return elements() * dtype_size(dtype);
}

std::size_t DeviceArray::bytes() const {
  return product(shape) * dtype_size(dtype);
}

}  // namespace fgdm
