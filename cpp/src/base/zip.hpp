#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <span>
#include <string>

namespace fgdm {

// Where a member's bytes lie in its archive.
struct ZipMember {
  std::uint64_t offset, size;
};

// Where members of an archive begin: at multiples of as many bytes.
inline constexpr std::uint64_t member_alignment = 64;

// The members of a ZIP archive by their names, without those that stand for folders. Reads the
// directory at its end and the members' headers, and no content.
//
// Strict: members are stored, not compressed or encrypted, begin at multiples of member_alignment,
// don't overlap, have names of their own that stay inside; and nothing follows the directory's end.
// Throws BundleError with the reason alone, for the caller to add which archive it is.
std::map<std::string, ZipMember, std::less<>> read_zip(std::span<const std::byte> archive);

}  // namespace fgdm
