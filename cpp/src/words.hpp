#pragma once

#include <string>
#include <vector>

namespace fgdm {

// The items as a list for people to read, with `between` in between.
inline std::string joined(const std::vector<std::string>& items, const std::string& between) {
  std::string text;
  for (const auto& item : items)
    text += (text.empty() ? "" : between) + item;
  return text;
}

}  // namespace fgdm
