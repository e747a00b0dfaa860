#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "fgdm/palette.hpp"

namespace fgdm {

// What a prompt asks for, in a palette's words.
struct PromptObjects {
  std::vector<int> requested;             // class indices, in the order of their first mention
  std::vector<std::string> unrecognized;  // other words that may name things
};

// Finds the palette's classes in a prompt. A class is named by any of its forms (name, synonyms and
// their plurals, one or more words); the longest form wins where several fit, letter case doesn't
// matter. Words that are no form and no common English function word, number or colour are
// reported as unrecognized.
PromptObjects find_objects(const Palette& palette, std::string_view prompt);

// The indices of classes given by name or any other form. Throws RequestError that names the
// unknown ones and what the palette holds.
std::vector<int> resolve_objects(const Palette& palette, const std::vector<std::string>& names);

}  // namespace fgdm
