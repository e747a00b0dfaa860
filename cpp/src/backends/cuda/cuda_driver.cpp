#include "cuda_driver.hpp"

#include <string>

#include "library.hpp"

namespace fgdm::cuda {
namespace {

Driver open_driver() {
  const std::array<std::string, 1> names{"libcuda.so.1"};
  void* const library =
      open_library(names, "the NVIDIA driver could not be opened; install it (it isn't part of the "
                          "CUDA toolkit), or use another backend.");
  Driver found{};
  for_each_function([&]<typename Function>(Function Driver::* member, const char* symbol) {
    found.*member =
        reinterpret_cast<Function>(find_symbol(library, symbol,
                                               std::string("the NVIDIA driver has no ") + symbol +
                                                   "; install a driver for CUDA 11.4 or newer"));
  });
  return found;
}

}  // namespace

const Driver& driver() {
  static const Driver opened = open_driver();
  return opened;
}

}  // namespace fgdm::cuda
