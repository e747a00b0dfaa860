#pragma once

#include <charconv>
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

// The beginning of a text for an error message, cut between two characters of UTF-8.
inline std::string excerpt(std::string_view text, std::size_t most_bytes = 60) {
  if (text.size() <= most_bytes)
    return std::string(text);
  while (most_bytes > 0 && (static_cast<unsigned char>(text[most_bytes]) & 0xC0U) == 0x80U)
    --most_bytes;
  return std::string(text.substr(0, most_bytes)) + "...";
}

}  // namespace fgdm
