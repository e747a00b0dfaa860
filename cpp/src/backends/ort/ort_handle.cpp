#include "ort_handle.hpp"

#include <charconv>

#include "fgdm/error.hpp"

namespace fgdm::ort {

void check(const Table& api, Status* status, const std::string& what) {
  if (status == nullptr)
    return;
  const std::string message = api.call<GetErrorMessage>(status);
  api.call<ReleaseStatus>(status);
  for (const char* sign :
       {"Failed to allocate", "out of memory", "bad_alloc", "OUT_OF_MEMORY", "ALLOC_FAILED"})
    if (message.find(sign) != std::string::npos)
      throw OutOfMemoryError(what + ": " + message +
                             "; ask for fewer candidates or a smaller picture");
  throw BackendError(what + ": " + message);
}

MemoryHandle cpu_memory(const Table& api) {
  MemoryHandle memory(api);
  check(api, api.call<CreateCpuMemoryInfo>(arena_allocator, memory_type_default, memory.out()),
        "describing CPU memory");
  return memory;
}

int minor_version(std::string_view version) {
  int minor = 0;
  if (version.starts_with("1."))
    std::from_chars(version.data() + 2, version.data() + version.size(), minor);
  return minor;
}

std::mutex& environment_mutex() {
  static std::mutex mutex;
  return mutex;
}

}  // namespace fgdm::ort
