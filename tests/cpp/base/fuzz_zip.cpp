// Whatever bytes an archive has, members that are read of it lie inside, one beside the other, or
// it is refused.
//
// An input that begins with an odd byte is a list of changes of a sound archive, three bytes each:
// where, in two, and what is there then. Any other is the archive itself.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <span>
#include <string>

#include "fgdm/error.hpp"
#include "zip.hpp"
#include "zip_file.hpp"

namespace {

std::string changed(const std::uint8_t* data, std::size_t size) {
  static const std::string sound[] = {
      fgdm::testing::ZipFile({{"manifest.json", "{}"}, {"a/b", "content"}, {"a/", ""}}).bytes(),
      fgdm::testing::ZipFile({{"manifest.json", "{}"}, {"a/b", "content"}}, true).bytes()};
  auto archive = sound[data[0] / 2 % 2];
  for (std::size_t i = 1; i + 3 <= size; i += 3)
    archive[(data[i] * 256U + data[i + 1]) % archive.size()] = static_cast<char>(data[i + 2]);
  return archive;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto archive = size > 0 && data[0] % 2 == 1
                           ? changed(data, size)
                           : std::string(reinterpret_cast<const char*>(data), size);
  try {
    for (const auto& [name, member] : fgdm::read_zip(std::as_bytes(std::span(archive))))
      if (name.empty() || member.offset > archive.size() ||
          member.size > archive.size() - member.offset)
        std::abort();
  } catch (const fgdm::BundleError&) {
  }
  return 0;
}
