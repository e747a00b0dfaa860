#pragma once

#include <algorithm>
#include <cstddef>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "unicode.hpp"

namespace fgdm {

// Words that are tokens as they stand: a text is split at them before its rest is encoded. The
// rules are those of the tokenizers library: the leftmost word counts, the longest of those that
// start there; white space beside it may belong to it.
class AddedTokens {
public:
  struct Token {
    std::u32string text;   // not empty
    std::vector<int> ids;  // what it becomes: itself, and further vectors of a learned word
    bool takes_space_before;
    bool takes_space_after;
  };

  void add(Token token) {
    auto& tokens = by_first_[token.text.front()];
    tokens.push_back(std::move(token));
    std::stable_sort(tokens.begin(), tokens.end(), [](const Token& left, const Token& right) {
      return left.text.size() > right.text.size();
    });
  }

  // Appends the ids of the tokens in `text` and calls `encode_piece` for what lies between them,
  // until there are `limit` ids.
  template <typename EncodePiece>
  void split(std::u32string_view text, std::size_t limit, std::vector<int>& ids,
             EncodePiece encode_piece) const {
    while (!text.empty() && ids.size() < limit) {
      const auto [begin, token] = find_first(text);
      std::size_t end_of_piece = begin;
      if (token != nullptr && token->takes_space_before)
        while (end_of_piece > 0 && unicode::is_space(text[end_of_piece - 1]))
          --end_of_piece;
      if (end_of_piece > 0)
        encode_piece(text.substr(0, end_of_piece));
      text.remove_prefix(begin);
      if (token == nullptr)
        continue;
      ids.insert(ids.end(), token->ids.begin(), token->ids.end());
      text.remove_prefix(token->text.size());
      while (token->takes_space_after && !text.empty() && unicode::is_space(text.front()))
        text.remove_prefix(1);
    }
  }

private:
  std::pair<std::size_t, const Token*> find_first(std::u32string_view text) const {
    for (std::size_t begin = 0; begin < text.size(); ++begin) {
      const auto found = by_first_.find(text[begin]);
      if (found == by_first_.end())
        continue;
      for (const Token& token : found->second)
        if (text.substr(begin).starts_with(token.text))
          return {begin, &token};
    }
    return {text.size(), nullptr};
  }

  std::unordered_map<char32_t, std::vector<Token>> by_first_;  // longest first
};

}  // namespace fgdm
