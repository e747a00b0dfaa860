#include "cuda_kernels.hpp"

#include <array>
#include <string>

#include "library.hpp"

namespace fgdm::cuda {
namespace {

Kernels open_kernels() {
  const auto named = environment("FGDM_KERNELS");
  const std::array<std::string, 1> names{
      named.empty() ? (core_folder() / "libfgdm_kernels.so").string() : named};
  void* const library = open_library(
      names, "fgdm's CUDA kernels could not be opened; build them with -DFGDM_CUDA=ON, "
             "or give their library's path in FGDM_KERNELS.");
  const auto find = [&]<typename Function>(Function& function, const char* symbol) {
    function = reinterpret_cast<Function>(
        find_symbol(library, symbol,
                    names.front() + " has no " + symbol +
                        ": it belongs to another version of fgdm; build it again"));
  };
  Kernels found{};
  find(found.guided_step, "fgdm_guided_step");
  find(found.decode_labels, "fgdm_decode_labels");
  find(found.accumulate, "fgdm_accumulate");
  find(found.picture_to_planes, "fgdm_picture_to_planes");
  find(found.planes_to_picture, "fgdm_planes_to_picture");
  return found;
}

}  // namespace

const Kernels& kernels() {
  static const Kernels opened = open_kernels();
  return opened;
}

}  // namespace fgdm::cuda
