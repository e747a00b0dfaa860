#include "cuda_kernels.hpp"

#include <dlfcn.h>

#include <array>
#include <string>

#include "fgdm/error.hpp"
#include "library.hpp"

namespace fgdm::cuda {
namespace {

Kernels open_kernels() {
  const auto named = environment("FGDM_KERNELS");
  const std::array<std::string, 1> names{
      named.empty() ? (core_folder() / "libfgdm_kernels.so").string() : named};
  std::string problems;
  void* const library = open_first(names, problems);
  if (library == nullptr)
    throw BackendError("fgdm's CUDA kernels could not be opened; build them with -DFGDM_CUDA=ON, "
                       "or give their library's path in FGDM_KERNELS. Tried:" +
                       problems);
  const auto find = [&](auto& function, const char* symbol) {
    function =
        reinterpret_cast<std::remove_reference_t<decltype(function)>>(::dlsym(library, symbol));
    if (function == nullptr)
      throw BackendError(names.front() + " has no " + symbol +
                         ": it belongs to another version of fgdm; build it again");
  };
  Kernels found{};
  find(found.guided_step, "fgdm_guided_step");
  find(found.decode_labels, "fgdm_decode_labels");
  find(found.accumulate, "fgdm_accumulate");
  return found;
}

}  // namespace

const Kernels& kernels() {
  static const Kernels opened = open_kernels();
  return opened;
}

}  // namespace fgdm::cuda
