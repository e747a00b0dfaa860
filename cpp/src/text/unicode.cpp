#include "unicode.hpp"

#include <cstddef>
#include <cstdint>

#include "fgdm/error.hpp"
#include "unicode_tables.hpp"

namespace fgdm::unicode {

namespace {

constexpr char32_t capital_i_with_dot = 0x130;  // lowers to two characters, as no other does
constexpr char32_t combining_dot_above = 0x307;

// The length of the well-formed sequence at the start of `bytes`, or 0 (Unicode, table 3-7).
std::size_t sequence_length(std::string_view bytes) {
  const auto at = [&](std::size_t i) -> unsigned {
    return i < bytes.size() ? static_cast<unsigned char>(bytes[i]) : 0U;
  };
  const auto continues = [&](std::size_t i) { return (at(i) & 0xC0) == 0x80; };
  const unsigned lead = at(0);
  if (lead < 0x80)
    return 1;
  if (lead >= 0xC2 && lead <= 0xDF)
    return continues(1) ? 2 : 0;
  if (lead >= 0xE0 && lead <= 0xEF) {
    const bool is_overlong = lead == 0xE0 && at(1) < 0xA0;
    const bool is_surrogate = lead == 0xED && at(1) > 0x9F;
    return continues(1) && continues(2) && !is_overlong && !is_surrogate ? 3 : 0;
  }
  if (lead >= 0xF0 && lead <= 0xF4) {
    const bool is_overlong = lead == 0xF0 && at(1) < 0x90;
    const bool is_too_high = lead == 0xF4 && at(1) > 0x8F;
    return continues(1) && continues(2) && continues(3) && !is_overlong && !is_too_high ? 4 : 0;
  }
  return 0;
}

char32_t lower(char32_t character) {
  const CaseRange* row = find_range(lowercases, character);
  if (row == nullptr || (character - row->first) % row->stride != 0)
    return character;
  return static_cast<char32_t>(static_cast<std::int32_t>(character) + row->delta);
}

}  // namespace

std::u32string decode_utf8(std::string_view text) {
  std::u32string result;
  result.reserve(text.size());
  for (std::size_t i = 0; i < text.size();) {
    const std::size_t length = sequence_length(text.substr(i));
    if (length == 0)
      throw RequestError("text is not valid UTF-8: the byte at offset " + std::to_string(i) +
                         " starts no character; send UTF-8");
    const auto lead = static_cast<unsigned char>(text[i]);
    char32_t character = length == 1 ? lead : lead & (0x7FU >> length);
    for (std::size_t j = 1; j < length; ++j)
      character = (character << 6) | (static_cast<unsigned char>(text[i + j]) & 0x3FU);
    result += character;
    i += length;
  }
  return result;
}

void append_utf8(char32_t character, std::string& text) {
  const auto put = [&](char32_t byte) { text += static_cast<char>(byte); };
  const auto put_tail = [&](int shift) { put(0x80 | ((character >> shift) & 0x3F)); };
  if (character < 0x80) {
    put(character);
  } else if (character < 0x800) {
    put(0xC0 | (character >> 6));
    put_tail(0);
  } else if (character < 0x10000) {
    put(0xE0 | (character >> 12));
    put_tail(6);
    put_tail(0);
  } else {
    put(0xF0 | (character >> 18));
    put_tail(12);
    put_tail(6);
    put_tail(0);
  }
}

bool is_letter(char32_t character) {
  return find_range(letters, character) != nullptr;
}

bool is_number(char32_t character) {
  return find_range(numbers, character) != nullptr;
}

bool is_space(char32_t character) {
  return find_range(spaces, character) != nullptr;
}

std::u32string lowercase(std::u32string_view text) {
  std::u32string result;
  result.reserve(text.size());
  for (const char32_t character : text) {
    if (character == capital_i_with_dot)
      result += {U'i', combining_dot_above};
    else
      result += lower(character);
  }
  return result;
}

}  // namespace fgdm::unicode
