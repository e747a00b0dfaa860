// Whatever bytes a manifest or palette holds, parsing them ends in a value or a BundleError.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "fgdm/error.hpp"
#include "fgdm/manifest.hpp"
#include "fgdm/palette.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  try {
    fgdm::Manifest::parse(text);
  } catch (const fgdm::BundleError&) {
  }
  try {
    fgdm::Palette::parse(text);
  } catch (const fgdm::BundleError&) {
  }
  return 0;
}
