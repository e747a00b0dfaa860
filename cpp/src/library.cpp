#include "library.hpp"

#include <dlfcn.h>

#include <cstdlib>

namespace fgdm {

void* open_first(std::span<const std::string> names, std::string& problems) {
  for (const auto& name : names) {
    if (void* handle = ::dlopen(name.c_str(), RTLD_NOW | RTLD_LOCAL))
      return handle;
    problems += std::string("\n  ") + ::dlerror();
  }
  return nullptr;
}

std::filesystem::path core_folder() {
  Dl_info info{};
  const auto here = reinterpret_cast<const void*>(&core_folder);
  if (::dladdr(here, &info) == 0 || info.dli_fname == nullptr)
    return {};
  std::error_code failed;
  const auto path = std::filesystem::canonical(info.dli_fname, failed);
  // A program's own name may be relative to a folder that it has left.
  if (failed)
    return std::filesystem::read_symlink("/proc/self/exe", failed).parent_path();
  return path.parent_path();
}

std::string environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

}  // namespace fgdm
