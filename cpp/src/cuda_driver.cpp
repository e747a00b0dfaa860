#include "cuda_driver.hpp"

#include <dlfcn.h>

#include <string>

#include "fgdm/error.hpp"
#include "library.hpp"

namespace fgdm::cuda {
namespace {

Driver open_driver() {
  const std::array<std::string, 1> names{"libcuda.so.1"};
  std::string problems;
  void* const library = open_first(names, problems);
  if (library == nullptr)
    throw BackendError("the NVIDIA driver could not be opened; install it (it isn't part of the "
                       "CUDA toolkit), or use another backend. Tried:" +
                       problems);
  Driver found{};
  for_each_function([&]<typename Function>(Function Driver::* member, const char* symbol) {
    found.*member = reinterpret_cast<Function>(::dlsym(library, symbol));
    if (found.*member == nullptr)
      throw BackendError(std::string("the NVIDIA driver has no ") + symbol +
                         "; install a driver for CUDA 11.4 or newer");
  });
  return found;
}

}  // namespace

const Driver& driver() {
  static const Driver opened = open_driver();
  return opened;
}

}  // namespace fgdm::cuda
