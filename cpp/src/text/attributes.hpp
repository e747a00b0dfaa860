#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "fgdm/palette.hpp"

namespace fgdm {

// What an attribute asks of a map.
struct AttributeClasses {
  std::vector<int> present, absent;
};

// Denied, one that a map shows asks for the opposite; of others nothing follows from that: who
// isn't blond may have hair.
AttributeClasses classes_of(const PaletteAttribute& attribute, bool denied);

// The attribute of that name, or that this is a word for; after "no " denied ("no beard").
std::optional<SaidAttribute> attribute_of(const Palette& palette, std::string_view text);

// "young", "no beard".
std::string attribute_text(const Palette& palette, const SaidAttribute& said);

}  // namespace fgdm
