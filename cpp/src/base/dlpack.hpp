#pragma once

#include <cstdint>
#include <string>

#include "fgdm/device_array.hpp"

// The C structures of DLPack (https://dmlc.github.io/dlpack), version 1, in which libraries hand
// arrays to each other. They are written down here since they are few, fixed, and in no header that
// all systems have: Debian's is of version 0.
namespace fgdm::dlpack {

inline constexpr std::int32_t device_cpu = 1, device_cuda = 2;
inline constexpr std::uint8_t code_int = 0, code_uint = 1, code_float = 2, code_bfloat = 4,
                              code_bool = 6;
inline constexpr std::uint32_t version_major = 1, version_minor = 0;
inline constexpr std::uint64_t flag_is_copied = 2;

struct Device {
  std::int32_t type, id;
};

struct DataType {
  std::uint8_t code, bits;
  std::uint16_t lanes;
};

// `strides` are in elements; where there are none the array is dense.
struct Tensor {
  void* data;
  Device device;
  std::int32_t ndim;
  DataType dtype;
  std::int64_t *shape, *strides;
  std::uint64_t byte_offset;
};

// A tensor that somebody owns; whoever takes it over calls the deleter once, if there is one.
struct Managed {
  Tensor tensor;
  void* context;
  void (*deleter)(Managed*);
};

struct Version {
  std::uint32_t major, minor;
};

// The same since version 1. Of another major version, nothing behind `deleter` is known.
struct ManagedVersioned {
  Version version;
  void* context;
  void (*deleter)(ManagedVersioned*);
  std::uint64_t flags;
  Tensor tensor;
};

static_assert(sizeof(void*) != 8 ||
              (sizeof(Tensor) == 48 && sizeof(Managed) == 64 && sizeof(ManagedVersioned) == 80));

// Where an array lies, as DLPack says it.
Device device_of(int gpu);

// A tensor that holds the array until its deleter is called.
Managed* managed(const DeviceArray& array);
ManagedVersioned* managed_versioned(const DeviceArray& array, bool is_copied);

// Type and shape of a tensor, without its memory. Throws RequestError, which calls it `name`, for
// one that is empty, isn't dense or of a type that no option takes.
DeviceArray described(const Tensor& tensor, const std::string& name);

// Where its first number lies.
std::byte* begin_of(const Tensor& tensor);

}  // namespace fgdm::dlpack
