#include "zip.hpp"

#include <algorithm>
#include <array>
#include <initializer_list>
#include <string_view>
#include <utility>
#include <vector>

#include "fgdm/error.hpp"
#include "file_tree.hpp"
#include "wording.hpp"

// APPNOTE.TXT of PKWARE, "ZIP File Format Specification" 6.3: the numbers below are its.
namespace fgdm {
namespace {

using Part = std::span<const std::byte>;

constexpr std::uint32_t local_signature = 0x04034b50, entry_signature = 0x02014b50,
                        end_signature = 0x06054b50, end64_signature = 0x06064b50,
                        locator_signature = 0x07064b50;
// Sizes of records without what is of changing size in them.
constexpr std::uint64_t local_size = 30, entry_size = 46, end_size = 22, end64_size = 56,
                        locator_size = 20;
constexpr std::uint32_t in_extra = 0xFFFFFFFF;  // a number that is too large for its field
constexpr std::uint64_t zip64_extra = 1;
constexpr std::uint64_t encrypted = 0x2041;  // flags: this, strongly, or the directory itself
constexpr std::uint64_t stored = 0;

[[noreturn]] void fail(const std::string& what) {
  throw BundleError(what);
}

// A name for messages: whatever bytes it has, they become printable ones.
std::string printable(std::string_view name) {
  constexpr std::string_view digits = "0123456789abcdef";
  std::string text;
  for (const char c : name) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte >= 0x20 && byte < 0x7F)
      text += c;
    else
      text += {'\\', 'x', digits[byte >> 4U], digits[byte & 15U]};
  }
  return '"' + excerpt(text, 120) + '"';
}

// `size` bytes from `begin` on, which have to end before `end`.
Part part(Part archive, std::uint64_t begin, std::uint64_t size, std::uint64_t end) {
  if (begin > end || size > end - begin)
    fail("it is cut short or damaged: something begins at byte " + std::to_string(begin) +
         " and doesn't end before byte " + std::to_string(end));
  return archive.subspan(static_cast<std::size_t>(begin), static_cast<std::size_t>(size));
}

// A little-endian number of a record.
template <std::size_t Bytes> std::uint64_t number(Part record, std::size_t at) {
  const auto bytes = record.subspan(at, Bytes);
  std::uint64_t value = 0;
  for (std::size_t i = Bytes; i-- > 0;)
    value = value << 8U | std::to_integer<std::uint64_t>(bytes[i]);
  return value;
}

std::string_view text(Part bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

// The list of members: where it is, and how many it names.
struct Directory {
  std::uint64_t begin, end, count;
};

Directory find_directory(Part archive) {
  constexpr const char* without = "it is cut short, or no ZIP archive: it doesn't end with the "
                                  "record of a directory that has no comment";
  const std::uint64_t size = archive.size();
  if (size < end_size)
    fail(without);
  const auto last_at = size - end_size;
  const auto last = part(archive, last_at, end_size, size);
  if (number<4>(last, 0) != end_signature || number<2>(last, 20) != 0)
    fail(without);
  Directory found{number<4>(last, 16), last_at, number<2>(last, 10)};
  auto bytes = number<4>(last, 12), disks = number<2>(last, 4) | number<2>(last, 6);
  // Large archives have a record of larger numbers, and one behind it that tells where that is.
  constexpr auto both = end64_size + locator_size;
  if (last_at >= both && number<4>(part(archive, last_at - locator_size, locator_size, last_at),
                                   0) == locator_signature) {
    const auto locator = part(archive, last_at - locator_size, locator_size, last_at);
    const auto record = part(archive, last_at - both, end64_size, last_at);
    if (number<8>(locator, 8) != last_at - both || number<4>(record, 0) != end64_signature ||
        number<8>(record, 4) != end64_size - 12)
      fail("the end of its directory is damaged");
    found = {number<8>(record, 48), last_at - both, number<8>(record, 32)};
    bytes = number<8>(record, 40);
    disks = number<4>(locator, 4) | number<4>(record, 16) | number<4>(record, 20);
  }
  if (disks != 0)
    fail("it is one of several parts of an archive, expected a whole one");
  if (found.begin > found.end || bytes != found.end - found.begin)
    fail("its directory isn't where its end says: it is damaged, or something was put in front");
  return found;
}

// Numbers that were too large for their fields stand in an extra field, in their order.
void widen(Part extra, std::initializer_list<std::uint64_t*> numbers) {
  while (extra.size() >= 4) {
    const auto kind = number<2>(extra, 0), size = number<2>(extra, 2);
    auto field = part(extra, 4, size, extra.size());
    extra = extra.subspan(4 + field.size());
    if (kind != zip64_extra)
      continue;
    for (auto* value : numbers)
      if (*value == in_extra) {
        *value = number<8>(part(field, 0, 8, field.size()), 0);
        field = field.subspan(8);
      }
  }
}

// A line of the directory.
struct Entry {
  std::string_view name;
  std::uint64_t flags, method, compressed, size, header;
};

// The entry at a place, which becomes that of the next.
Entry read_entry(Part archive, const Directory& directory, std::uint64_t& at) {
  const auto record = part(archive, at, entry_size, directory.end);
  if (number<4>(record, 0) != entry_signature)
    fail("its directory is damaged at byte " + std::to_string(at));
  const auto name_size = number<2>(record, 28), extra_size = number<2>(record, 30),
             comment_size = number<2>(record, 32);
  at += entry_size;
  Entry entry{text(part(archive, at, name_size, directory.end)),
              number<2>(record, 8),
              number<2>(record, 10),
              number<4>(record, 20),
              number<4>(record, 24),
              number<4>(record, 42)};
  widen(part(archive, at + name_size, extra_size, directory.end),
        {&entry.size, &entry.compressed, &entry.header});
  at += name_size + extra_size + comment_size;
  return entry;
}

void check_kind(const Entry& entry) {
  const auto member = "its member " + printable(entry.name);
  if ((entry.flags & encrypted) != 0)
    fail(member + " is encrypted, expected it as it is");
  if (entry.method != stored || entry.compressed != entry.size)
    fail(member + " is compressed (method " + std::to_string(entry.method) +
         "), expected stored, so that it can be used where it lies");
  const auto name =
      entry.name.ends_with('/') ? entry.name.substr(0, entry.name.size() - 1) : entry.name;
  // Some tools take a backslash for a '/'.
  if (!is_inner_name(name) || !is_plain(name) || name.find('\\') != std::string_view::npos)
    fail(member + " has a name that doesn't stay inside the bundle");
}

// Where an entry's content is, once its own header agrees.
ZipMember find_content(Part archive, const Directory& directory, const Entry& entry) {
  const auto header = part(archive, entry.header, local_size, directory.begin);
  const auto name_at = entry.header + local_size;
  const auto name_size = number<2>(header, 26), extra_size = number<2>(header, 28);
  if (number<4>(header, 0) != local_signature || (number<2>(header, 6) & encrypted) != 0 ||
      number<2>(header, 8) != entry.method ||
      text(part(archive, name_at, name_size, directory.begin)) != entry.name)
    fail("its member " + printable(entry.name) + " isn't where the directory says: it is damaged");
  const ZipMember member{name_at + name_size + extra_size, entry.size};
  part(archive, member.offset, member.size, directory.begin);
  if (member.size > 0 && member.offset % member_alignment != 0)
    fail("its member " + printable(entry.name) + " begins at byte " +
         std::to_string(member.offset) + ", expected a multiple of " +
         std::to_string(member_alignment));
  return member;
}

}  // namespace

std::map<std::string, ZipMember, std::less<>> read_zip(Part archive) {
  const auto directory = find_directory(archive);
  std::map<std::string, ZipMember, std::less<>> members;
  std::vector<std::pair<std::uint64_t, std::uint64_t>> places;  // of headers with their contents
  std::uint64_t at = directory.begin, count = 0;
  for (; at < directory.end; ++count) {
    const auto entry = read_entry(archive, directory, at);
    check_kind(entry);
    const auto content = find_content(archive, directory, entry);
    places.emplace_back(entry.header, content.offset + content.size);
    if (!entry.name.ends_with('/') && !members.emplace(entry.name, content).second)
      fail("it has two members called " + printable(entry.name));
  }
  if (at != directory.end || count != directory.count)
    fail("its directory is damaged: it doesn't end where it says");
  std::ranges::sort(places);
  for (std::size_t i = 1; i < places.size(); ++i)
    if (places[i].first < places[i - 1].second)
      fail("two of its members overlap: it is damaged");
  return members;
}

}  // namespace fgdm
