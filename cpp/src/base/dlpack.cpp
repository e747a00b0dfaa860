#include "dlpack.hpp"

#include <algorithm>
#include <array>
#include <memory>

#include "fgdm/error.hpp"
#include "wording.hpp"

namespace fgdm::dlpack {
namespace {

struct Named {
  DType dtype;
  DataType type;
};

constexpr std::array<Named, 7> types{{{DType::float32, {code_float, 32, 1}},
                                      {DType::float16, {code_float, 16, 1}},
                                      {DType::bfloat16, {code_bfloat, 16, 1}},
                                      {DType::int64, {code_int, 64, 1}},
                                      {DType::int32, {code_int, 32, 1}},
                                      {DType::uint8, {code_uint, 8, 1}},
                                      {DType::boolean, {code_bool, 8, 1}}}};

// What a tensor needs as long as somebody has it.
template <typename T> struct Held {
  DeviceArray array;
  std::vector<std::int64_t> strides;
  T managed;
};

template <typename T> T* held(const DeviceArray& array) {
  auto made = std::make_unique<Held<T>>();
  made->array = array;
  made->strides.resize(array.shape.size(), 1);
  for (std::size_t i = array.shape.size(); i-- > 1;)
    made->strides[i - 1] = made->strides[i] * array.shape[i];
  const auto type = std::ranges::find(types, array.dtype, &Named::dtype)->type;
  auto& shape = made->array.shape;
  made->managed.tensor = {array.memory->data(),
                          device_of(array.memory->gpu()),
                          static_cast<std::int32_t>(shape.size()),
                          type,
                          shape.data(),
                          made->strides.data(),
                          0};
  made->managed.context = made.get();
  made->managed.deleter = [](T* managed) { delete static_cast<Held<T>*>(managed->context); };
  return &made.release()->managed;
}

std::string words_of(const DataType& type) {
  if (type.lanes != 1)
    return "vectors of " + std::to_string(type.lanes);
  const std::array<const char*, 7> kinds{"int",    "uint",    "float", "opaque",
                                         "bfloat", "complex", "bool"};
  const std::string kind = type.code < kinds.size() ? kinds[type.code] : "unknown";
  return kind + std::to_string(type.bits);
}

}  // namespace

Device device_of(int gpu) {
  return gpu < 0 ? Device{device_cpu, 0} : Device{device_cuda, gpu};
}

Managed* managed(const DeviceArray& array) {
  return held<Managed>(array);
}

ManagedVersioned* managed_versioned(const DeviceArray& array, bool is_copied) {
  auto* const made = held<ManagedVersioned>(array);
  made->version = {version_major, version_minor};
  made->flags = is_copied ? flag_is_copied : 0;
  return made;
}

DeviceArray described(const Tensor& tensor, const std::string& name) {
  const auto& type = tensor.dtype;
  const auto found = std::ranges::find_if(types, [&](const Named& named) {
    return named.type.code == type.code && named.type.bits == type.bits && type.lanes == 1;
  });
  if (found == types.end())
    throw RequestError(name + " is an array of " + words_of(type) +
                       ", expected uint8 of a picture, float32 of latents");
  const auto rank = static_cast<std::size_t>(std::max(tensor.ndim, 0));
  std::vector<std::int64_t> shape(tensor.shape, tensor.shape + rank);
  if (shape.empty() || std::ranges::count(shape, 0) > 0)
    throw RequestError(name + " is an empty array or a single number, of shape " +
                       shown_extents(shape));
  std::int64_t dense = 1;
  for (std::size_t i = rank; i-- > 0;) {
    if (tensor.strides != nullptr && shape[i] != 1 && tensor.strides[i] != dense)
      throw RequestError(name + " has the strides " + shown_extents({tensor.strides, rank}) +
                         " for the shape " + shown_extents(shape) +
                         ", expected a dense array; give a contiguous copy of it");
    dense *= shape[i];
  }
  return {found->dtype, std::move(shape), nullptr};
}

std::byte* begin_of(const Tensor& tensor) {
  return static_cast<std::byte*>(tensor.data) + tensor.byte_offset;
}

}  // namespace fgdm::dlpack
