#pragma once

#include <algorithm>
#include <cstddef>
#include <initializer_list>
#include <map>
#include <optional>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "prompt_words.hpp"

namespace fgdm {

// Phrases of one or more words and what they mean, found at the beginning of words.
template <typename Meaning> class Phrases {
public:
  // Lists of phrases, separated by commas. They must outlive this.
  Phrases(std::initializer_list<std::pair<Meaning, std::string_view>> tables) {
    for (const auto& [meaning, list] : tables)
      for (const auto text : split(list, ',')) {
        auto words = split(text, ' ');
        const auto first = words.front();
        by_first_word_.emplace(first, Phrase{std::move(words), meaning});
      }
  }

  struct Found {
    Meaning meaning;
    std::size_t length;  // words
  };

  // The longest phrase that `words`, one or more, begin with. No stop is within a phrase.
  std::optional<Found> find(std::span<const PromptWord> words) const {
    std::optional<Found> longest;
    const auto [first, last] = by_first_word_.equal_range(words.front().text);
    for (auto known = first; known != last; ++known)
      if (const auto& phrase = known->second;
          (!longest || phrase.words.size() > longest->length) && stands_at(phrase, words))
        longest = Found{phrase.meaning, phrase.words.size()};
    return longest;
  }

private:
  struct Phrase {
    std::vector<std::string_view> words;
    Meaning meaning;
  };

  static std::vector<std::string_view> split(std::string_view text, char separator) {
    std::vector<std::string_view> parts;
    for (std::size_t begin = 0; begin <= text.size();) {
      const auto end = std::min(text.find(separator, begin), text.size());
      parts.push_back(text.substr(begin, end - begin));
      begin = end + 1;
    }
    return parts;
  }

  static bool stands_at(const Phrase& phrase, std::span<const PromptWord> words) {
    if (phrase.words.size() > words.size())
      return false;
    for (std::size_t i = 0; i < phrase.words.size(); ++i)
      if (words[i].text != phrase.words[i] || (i > 0 && words[i].before == Pause::stop))
        return false;
    return true;
  }

  std::multimap<std::string_view, Phrase> by_first_word_;
};

}  // namespace fgdm
