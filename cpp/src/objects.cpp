#include "fgdm/objects.hpp"

#include <algorithm>
#include <array>
#include <map>
#include <set>

#include "fgdm/error.hpp"

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

// Lower-cased runs of letters, digits and non-ASCII bytes.
std::vector<std::string> words_of(std::string_view text) {
  std::vector<std::string> words(1);
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte >= 'A' && byte <= 'Z')
      words.back() += static_cast<char>(byte - 'A' + 'a');
    else if ((byte >= 'a' && byte <= 'z') || (byte >= '0' && byte <= '9') || byte >= 0x80)
      words.back() += c;
    else if (!words.back().empty())
      words.emplace_back();
  }
  if (words.back().empty())
    words.pop_back();
  return words;
}

// Every form of every class as a sequence of words.
std::map<std::vector<std::string>, int> forms_of(const Palette& palette) {
  std::map<std::vector<std::string>, int> forms;
  const auto& classes = palette.classes();
  for (std::size_t i = 0; i < classes.size(); ++i) {
    forms.emplace(words_of(classes[i].name), static_cast<int>(i));
    for (const auto* list : {&classes[i].synonyms, &classes[i].forms})
      for (const auto& form : *list)
        forms.emplace(words_of(form), static_cast<int>(i));
  }
  return forms;
}

void append_once(std::vector<int>& indices, int index) {
  if (std::ranges::find(indices, index) == indices.end())
    indices.push_back(index);
}

}  // namespace

PromptObjects find_objects(const Palette& palette, std::string_view prompt) {
  const auto forms = forms_of(palette);
  std::size_t longest = 1;
  for (const auto& [words, index] : forms)
    longest = std::max(longest, words.size());

  const auto words = words_of(prompt);
  PromptObjects objects;
  for (std::size_t at = 0; at < words.size();) {
    std::size_t taken = 0;
    for (std::size_t length = std::min(longest, words.size() - at); length > 0; --length) {
      const auto begin = words.begin() + static_cast<std::ptrdiff_t>(at);
      const auto form = forms.find({begin, begin + static_cast<std::ptrdiff_t>(length)});
      if (form == forms.end())
        continue;
      append_once(objects.requested, form->second);
      taken = length;
      break;
    }
    if (taken == 0 && !function_words().contains(words[at]) &&
        std::ranges::find(objects.unrecognized, words[at]) == objects.unrecognized.end())
      objects.unrecognized.push_back(words[at]);
    at += std::max<std::size_t>(taken, 1);
  }
  return objects;
}

std::vector<int> resolve_objects(const Palette& palette, const std::vector<std::string>& names) {
  const auto forms = forms_of(palette);
  std::vector<int> indices;
  std::string unknown;
  for (const auto& name : names) {
    if (const auto form = forms.find(words_of(name)); form != forms.end())
      append_once(indices, form->second);
    else
      unknown += (unknown.empty() ? "\"" : ", \"") + name + "\"";
  }
  if (unknown.empty())
    return indices;
  std::string known;
  for (const auto& entry : palette.classes())
    known += (known.empty() ? "" : ", ") + entry.name;
  throw RequestError("objects names " + unknown + ", which palette \"" + palette.name() +
                     "\" does not have; it has: " + known);
}

}  // namespace fgdm
