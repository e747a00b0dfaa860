// Whatever bytes a manifest or palette holds, opening the bundle and asking it for a picture ends
// in a picture or an fgdm::Error: no signal, no other exception.
//
// An input that begins with an odd byte is a list of changes of a sound manifest, three bytes each:
// which value, in two, and what it is replaced by. Any other is the manifest's text.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "fgdm/error.hpp"
#include "fgdm/palette.hpp"
#include "spoilt_bundle.hpp"

namespace {

const fgdm::testing::SpoiltBundle& bundle() {
  static const fgdm::testing::SpoiltBundle made;
  return made;
}

std::string changed(const std::uint8_t* data, std::size_t size) {
  static const auto places = fgdm::testing::places(bundle().manifest());
  const auto& values = fgdm::testing::replacements();
  auto manifest = bundle().manifest();
  for (std::size_t i = 1; i + 3 <= size && i < 13; i += 3)
    fgdm::testing::spoil(manifest, places[(data[i] * 256U + data[i + 1]) % places.size()],
                         values[data[i + 2] % values.size()]);
  return manifest.dump();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  try {
    bundle().generate(size > 0 && data[0] % 2 == 1 ? changed(data, size) : std::string(text));
  } catch (const fgdm::Error&) {
  }
  try {
    fgdm::Palette::parse(text);
  } catch (const fgdm::BundleError&) {
  }
  return 0;
}
