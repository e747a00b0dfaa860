#include "library.hpp"

#include <dlfcn.h>

#include <cstdlib>

#include "fgdm/error.hpp"

namespace fgdm {

void* open_first(std::span<const std::string> names, std::string& problems) {
  for (const auto& name : names) {
    std::error_code unknown;  // a pipe would be waited for
    if (std::filesystem::is_fifo(name, unknown)) {
      problems += "\n  " + name + ": it is a pipe";
      continue;
    }
    if (void* handle = ::dlopen(name.c_str(), RTLD_NOW | RTLD_LOCAL))
      return handle;
    problems += std::string("\n  ") + ::dlerror();
  }
  return nullptr;
}

void* open_library(std::span<const std::string> names, const std::string& advice) {
  std::string problems;
  void* const library = open_first(names, problems);
  if (library == nullptr)
    throw BackendError(advice + " Tried:" + problems);
  return library;
}

void* find_symbol(void* library, const char* symbol, const std::string& complaint) {
  void* const found = ::dlsym(library, symbol);
  if (found == nullptr)
    throw BackendError(complaint);
  return found;
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
