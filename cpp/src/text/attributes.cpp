#include "attributes.hpp"

#include <algorithm>
#include <string>

#include "class_forms.hpp"

namespace fgdm {
namespace {

constexpr std::string_view denial = "no ";

}  // namespace

AttributeClasses classes_of(const PaletteAttribute& attribute, bool denied) {
  if (!denied)
    return {attribute.present, attribute.absent};
  return attribute.shown ? AttributeClasses{attribute.absent, attribute.present}
                         : AttributeClasses{};
}

std::optional<SaidAttribute> attribute_of(const Palette& palette, std::string_view text) {
  const bool denied = text.starts_with(denial);
  if (denied)
    text.remove_prefix(denial.size());
  const auto& all = palette.attributes();
  const auto named = std::ranges::find(all, text, &PaletteAttribute::name);
  if (named != all.end())
    return SaidAttribute{static_cast<int>(named - all.begin()), denied};
  const auto words = prompt_words(text);
  const auto said = ClassForms(palette).said(words).of_attribute;
  if (!said || said->length != words.size())
    return std::nullopt;
  return SaidAttribute{said->index, denied};
}

std::string attribute_text(const Palette& palette, const SaidAttribute& said) {
  const auto& name = palette.attributes()[static_cast<std::size_t>(said.index)].name;
  return (said.denied ? std::string(denial) : std::string()) + name;
}

}  // namespace fgdm
