#include "fgdm/objects.hpp"

#include <algorithm>
#include <span>
#include <unordered_set>

#include "attributes.hpp"
#include "class_forms.hpp"
#include "fgdm/error.hpp"
#include "negation.hpp"
#include "prompt_words.hpp"
#include "wording.hpp"

namespace fgdm {
namespace {

// Class indices, each once, in the order they came.
class ClassSet {
public:
  explicit ClassSet(const Palette& palette) : has_(palette.classes().size()) {}

  void add(int index) {
    if (!contains(index))
      indices_.push_back(index);
    has_[static_cast<std::size_t>(index)] = true;
  }
  bool contains(int index) const { return has_[static_cast<std::size_t>(index)]; }
  std::vector<int> indices() const { return indices_; }

private:
  std::vector<bool> has_;
  std::vector<int> indices_;
};

}  // namespace

PromptObjects find_objects(const Palette& palette, std::string_view prompt) {
  const ClassForms forms(palette);
  const auto words = prompt_words(prompt);
  const auto role = roles(words);
  ClassSet requested(palette), excluded(palette);
  std::unordered_set<std::string_view> unrecognized;
  PromptObjects objects;
  for (std::size_t at = 0; at < words.size();) {
    if (const auto said = forms.said(std::span(words).subspan(at)); said.length > 0) {
      const bool denied = role[at] == Role::excluded;
      if (said.of_class)
        (denied ? excluded : requested).add(said.of_class->index);
      if (said.of_attribute) {
        const SaidAttribute known{said.of_attribute->index, denied};
        const auto& attribute = palette.attributes()[static_cast<std::size_t>(known.index)];
        const auto asked = classes_of(attribute, denied);
        std::ranges::for_each(asked.present, [&](int index) { requested.add(index); });
        std::ranges::for_each(asked.absent, [&](int index) { excluded.add(index); });
        if (!attribute.shown && std::ranges::count(objects.attributes, known) == 0)
          objects.attributes.push_back(known);
      }
      at += said.length;
      continue;
    }
    const std::string& word = words[at].text;
    if (role[at] == Role::asked && !is_function_word(word) && unrecognized.insert(word).second) {
      if (objects.unrecognized.size() < most_unrecognized)
        objects.unrecognized.push_back(excerpt(word));
      else
        ++objects.unrecognized_omitted;
    }
    ++at;
  }
  objects.requested = requested.indices();
  for (const int index : excluded.indices())
    if (!requested.contains(index))
      objects.excluded.push_back(index);
  return objects;
}

std::vector<int> resolve_objects(const Palette& palette, const std::vector<std::string>& names) {
  constexpr std::size_t most_named = 10;
  const ClassForms forms(palette);
  ClassSet classes(palette);
  std::vector<std::string> unknown;
  std::size_t omitted = 0;
  for (const auto& name : names) {
    const auto words = prompt_words(name);
    const auto said = forms.said(words);
    const bool is_whole = said.length > 0 && said.length == words.size();
    const auto* attribute =
        is_whole && said.of_attribute
            ? &palette.attributes()[static_cast<std::size_t>(said.of_attribute->index)]
            : nullptr;
    if (is_whole && said.of_class)
      classes.add(said.of_class->index);
    else if (attribute != nullptr && attribute->shown && attribute->absent.empty())
      for (const int index : attribute->present)
        classes.add(index);
    else if (unknown.size() < most_named)
      unknown.push_back("\"" + excerpt(name) + "\"");
    else
      ++omitted;
  }
  if (unknown.empty())
    return classes.indices();
  std::vector<std::string> known;
  for (const auto& entry : palette.classes())
    known.push_back(entry.name);
  throw RequestError("objects names " + joined(unknown, ", ") +
                     (omitted > 0 ? " and " + std::to_string(omitted) + " more" : "") +
                     ", which palette \"" + palette.name() +
                     "\" does not have; it has: " + joined(known, ", "));
}

}  // namespace fgdm
