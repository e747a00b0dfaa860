#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "fgdm/api.h"
#include "fgdm/palette.hpp"

namespace fgdm {

// The most words that PromptObjects::unrecognized holds.
inline constexpr std::size_t most_unrecognized = 100;

// What a prompt asks for, in a palette's words.
struct FGDM_API PromptObjects {
  std::vector<int> requested;             // class indices, in the order of their first mention
  std::vector<int> excluded;              // classes that are named only as what shall not be there
  std::vector<std::string> unrecognized;  // other words that may name things, the first ones
  std::size_t unrecognized_omitted = 0;   // how many more there are
  std::vector<SaidAttribute> attributes;  // of those that no map shows, each once
};

// Finds the palette's classes in a prompt. A class is named by any of its forms (name, synonyms and
// their plurals, one or more words); the longest form wins where several fit, letter case doesn't
// matter. Words that are no form and no common English function word, number or colour are
// reported as unrecognized. What stands in the scope of a negation ("a house without trees", "no
// dogs, only a cat", "neither boats nor umbrellas") is excluded, neither requested nor
// unrecognized; a class that is named both ways is requested. A palette's attributes ask for their
// classes, and for the absence of those that they lack, denied for the opposite; one that no map
// shows is told, and denied asks for nothing. Takes time in proportion to the prompt.
FGDM_API PromptObjects find_objects(const Palette& palette, std::string_view prompt);

// The indices of classes given by name or any other form, or by an attribute that stands for
// several
// ("eyes"). Throws RequestError that names the
// unknown ones and what the palette holds.
FGDM_API std::vector<int> resolve_objects(const Palette& palette,
                                          const std::vector<std::string>& names);

}  // namespace fgdm
