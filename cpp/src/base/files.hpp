#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "fgdm/bytes.hpp"

namespace fgdm {

// The most bytes of a file that is read whole: manifests, palettes, vocabularies, plans' metadata.
inline constexpr std::size_t most_text = std::size_t{64} << 20U;

// A whole file. Throws BundleError for what is no regular file (a folder, a pipe, a device, a loop
// of links), can't be read, or has more than `most` bytes.
std::string read_file(const std::filesystem::path& path, std::size_t most = most_text);

// `size` bytes of a file, from byte `offset` on. Throws BundleError as read_file, and where the
// file ends before.
std::vector<std::byte> read_part(const std::filesystem::path& path, std::uint64_t offset,
                                 std::uint64_t size);

// A whole file where it lies: its pages are read when somebody looks at them. To look at them after
// somebody has shortened the file ends the process. Throws BundleError as read_file.
Bytes map_file(const std::filesystem::path& path);

// Gives the memory of a mapped file's pages back until somebody looks at them again.
void let_go(std::span<const std::byte> mapped);

// Parses JSON that comes from outside. Throws BundleError with the reason alone, for the caller to
// add which file it is and what to do, where it isn't JSON, and for a byte order mark, a zero byte,
// a key that an object has twice, and brackets nested deeper than 64, which nothing of ours has:
// what follows such a document by recursion would run out of stack.
nlohmann::json parse_json(std::string_view text);

}  // namespace fgdm
