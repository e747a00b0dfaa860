#include "fgdm/objects.hpp"

#include <algorithm>
#include <functional>
#include <optional>
#include <set>
#include <span>
#include <unordered_map>
#include <unordered_set>

#include "fgdm/error.hpp"
#include "negation.hpp"
#include "prompt_words.hpp"
#include "wording.hpp"

namespace fgdm {
namespace {

// English words that name no thing on their own.
const std::set<std::string_view>& function_words() {
  static const std::set<std::string_view> words{
      "a",      "an",           "the",      "and",     "or",      "with",    "without",
      "of",     "in",           "on",       "at",      "to",      "by",      "near",
      "next",   "beside",       "besides",  "under",   "over",    "above",   "below",
      "behind", "front",        "between",  "among",   "around",  "left",    "right",
      "side",   "top",          "bottom",   "middle",  "from",    "into",    "through",
      "across", "along",        "against",  "inside",  "outside", "is",      "are",
      "was",    "were",         "be",       "being",   "there",   "here",    "it",
      "its",    "his",          "her",      "their",   "this",    "that",    "these",
      "those",  "some",         "several",  "many",    "few",     "both",    "each",
      "every",  "all",          "no",       "not",     "one",     "two",     "three",
      "four",   "five",         "six",      "seven",   "eight",   "nine",    "ten",
      "photo",  "picture",      "image",    "drawing", "scene",   "view",    "poster",
      "for",    "as",           "while",    "up",      "down",    "out",     "off",
      "very",   "together",     "standing", "sitting", "lying",   "walking", "running",
      "red",    "blue",         "yellow",   "green",   "white",   "black",   "purple",
      "orange", "brown",        "gray",     "grey",    "pink",    "big",     "small",
      "large",  "little",       "tall",     "old",     "young",   "new",     "beautiful",
      "flat",   "illustration", "painting", "showing", "has",     "have",    "s"};
  return words;
}

// Where the forms of a palette's classes are looked up: by their first word, the longest first.
class Forms {
public:
  explicit Forms(const Palette& palette) {
    const auto& classes = palette.classes();
    for (std::size_t i = 0; i < classes.size(); ++i) {
      add(classes[i].name, static_cast<int>(i));
      for (const auto* list : {&classes[i].synonyms, &classes[i].forms})
        for (const auto& form : *list)
          add(form, static_cast<int>(i));
    }
    for (auto& [first, forms] : by_first_word_)
      std::ranges::stable_sort(forms, std::greater<>{},
                               [](const Form& form) { return form.words.size(); });
  }

  struct Found {
    int index;           // of the class
    std::size_t length;  // words
  };

  // The longest form that `words` begin with; of equal ones the first class's.
  std::optional<Found> find(std::span<const PromptWord> words) const {
    const auto known = words.empty() ? by_first_word_.end() : by_first_word_.find(words[0].text);
    if (known == by_first_word_.end())
      return std::nullopt;
    for (const auto& form : known->second)
      if (form.words.size() <= words.size() &&
          std::ranges::equal(form.words, words.first(form.words.size()), {}, &PromptWord::text,
                             &PromptWord::text))
        return Found{form.index, form.words.size()};
    return std::nullopt;
  }

private:
  struct Form {
    std::vector<PromptWord> words;
    int index;
  };

  void add(std::string_view text, int index) {
    auto words = prompt_words(text);
    if (words.empty())
      return;
    auto& forms = by_first_word_[words.front().text];
    forms.push_back({std::move(words), index});
  }

  std::unordered_map<std::string, std::vector<Form>> by_first_word_;
};

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
  const Forms forms(palette);
  const auto words = prompt_words(prompt);
  const auto role = roles(words);
  ClassSet requested(palette), excluded(palette);
  std::unordered_set<std::string_view> unrecognized;
  PromptObjects objects;
  for (std::size_t at = 0; at < words.size();) {
    if (const auto found = forms.find(std::span(words).subspan(at))) {
      (role[at] == Role::excluded ? excluded : requested).add(found->index);
      at += found->length;
      continue;
    }
    const std::string& word = words[at].text;
    if (role[at] == Role::asked && !function_words().contains(word) &&
        unrecognized.insert(word).second) {
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
  const Forms forms(palette);
  ClassSet classes(palette);
  std::vector<std::string> unknown;
  std::size_t omitted = 0;
  for (const auto& name : names) {
    const auto words = prompt_words(name);
    if (const auto found = forms.find(words); found && found->length == words.size())
      classes.add(found->index);
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
