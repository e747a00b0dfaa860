#pragma once

#include <charconv>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

namespace fgdm {

// The items as a list for people to read, with `between` in between.
inline std::string joined(const std::vector<std::string>& items, const std::string& between) {
  std::string text;
  for (const auto& item : items)
    text += (text.empty() ? "" : between) + item;
  return text;
}

// A number as a person would write it, with a point in every locale.
template <typename T> std::string shown(T value) {
  char text[64];
  if constexpr (std::is_integral_v<T>)
    return {text, std::to_chars(text, text + sizeof text, value).ptr};
  else
    return {text, std::to_chars(text, text + sizeof text, static_cast<double>(value),
                                std::chars_format::general, 6)
                      .ptr};
}

// A shape or strides, as Python writes them.
inline std::string shown_extents(std::span<const std::int64_t> extents) {
  std::string text;
  for (const auto extent : extents)
    text += (text.empty() ? "" : ", ") + shown(extent);
  return "(" + text + ")";
}

// Whether UTF-8 can be shown as it is: it has no control characters, line breaks or changes of
// direction, which terminals follow in place of showing them. The Python package has the same rule.
inline bool is_plain(std::string_view text) {
  for (std::size_t i = 0; i < text.size(); ++i) {
    const auto at = [&](std::size_t place) {
      return place < text.size() ? static_cast<unsigned char>(text[place]) : 0U;
    };
    const auto first = at(i), second = at(i + 1), third = at(i + 2);
    const bool control = first < 0x20 || first == 0x7F || (first == 0xC2 && second < 0xA0);
    const bool separates = first == 0xE2 && second == 0x80 && third >= 0xA8 && third <= 0xAE;
    const bool isolates = first == 0xE2 && second == 0x81 && third >= 0xA6 && third <= 0xA9;
    if (control || separates || isolates)
      return false;
  }
  return true;
}

// The beginning of a text for an error message, cut between two characters of UTF-8.
inline std::string excerpt(std::string_view text, std::size_t most_bytes = 60) {
  if (text.size() <= most_bytes)
    return std::string(text);
  while (most_bytes > 0 && (static_cast<unsigned char>(text[most_bytes]) & 0xC0U) == 0x80U)
    --most_bytes;
  return std::string(text.substr(0, most_bytes)) + "...";
}

}  // namespace fgdm
