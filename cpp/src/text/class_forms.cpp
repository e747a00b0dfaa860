#include "class_forms.hpp"

#include <algorithm>
#include <functional>
#include <set>

namespace fgdm {
namespace {

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
      "flat",   "illustration", "painting", "showing", "has",     "have",    "s",
      "he",     "she",          "they",     "wearing", "wears",   "portrait"};
  return words;
}

}  // namespace

bool is_function_word(std::string_view word) {
  return function_words().contains(word);
}

ClassForms::ClassForms(const Palette& palette) {
  const auto& classes = palette.classes();
  for (std::size_t i = 0; i < classes.size(); ++i) {
    const int index = static_cast<int>(i);
    classes_.add(classes[i].name, index, true);
    for (const auto* list : {&classes[i].synonyms, &classes[i].forms})
      for (const auto& form : *list)
        classes_.add(form, index, list == &classes[i].synonyms);
  }
  const auto& attributes = palette.attributes();
  for (std::size_t i = 0; i < attributes.size(); ++i)
    for (const auto& word : attributes[i].words)
      attributes_.add(word, static_cast<int>(i), true);
  classes_.sort();
  attributes_.sort();
}

std::optional<ClassForms::Found> ClassForms::find(std::span<const PromptWord> words) const {
  return classes_.find(words);
}

ClassForms::Said ClassForms::said(std::span<const PromptWord> words) const {
  Said said{classes_.find(words), attributes_.find(words), 0};
  const auto length_of = [](const auto& found) { return found ? found->length : std::size_t{0}; };
  said.length = std::max(length_of(said.of_class), length_of(said.of_attribute));
  for (auto* found : {&said.of_class, &said.of_attribute})
    if (length_of(*found) < said.length)
      found->reset();
  return said;
}

void ClassForms::Index::add(std::string_view text, int index, bool is_name) {
  auto words = prompt_words(text);
  if (words.empty())
    return;
  auto& forms = by_first_word_[words.front().text];
  forms.push_back({std::move(words), index, is_name});
}

void ClassForms::Index::sort() {
  for (auto& [first, forms] : by_first_word_)
    std::ranges::stable_sort(forms, std::greater<>{},
                             [](const Form& form) { return form.words.size(); });
}

std::optional<ClassForms::Found> ClassForms::Index::find(std::span<const PromptWord> words) const {
  const auto known = words.empty() ? by_first_word_.end() : by_first_word_.find(words[0].text);
  if (known == by_first_word_.end())
    return std::nullopt;
  for (const auto& form : known->second)
    if (form.words.size() <= words.size() &&
        std::ranges::equal(form.words, words.first(form.words.size()), {}, &PromptWord::text,
                           &PromptWord::text))
      return Found{form.index, form.words.size(), form.is_name};
  return std::nullopt;
}

}  // namespace fgdm
