#include "prompt_words.hpp"

#include <algorithm>
#include <utility>

namespace fgdm {
namespace {

bool is_of_a_word(char c) {
  const auto byte = static_cast<unsigned char>(c);
  return (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z') ||
         (byte >= '0' && byte <= '9') || byte >= 0x80;
}

// Curly quotes and long dashes, U+2000 to U+203F: three bytes that belong to no word.
bool is_punctuation(std::string_view text) {
  return text.starts_with("\xE2\x80");
}

Pause pause_of(std::string_view mark) {
  if (mark == "," || mark == "\xE2\x80\x93" || mark == "\xE2\x80\x94")
    return Pause::comma;
  return std::string_view(".;:!?()[]\n").find(mark) != std::string_view::npos ? Pause::stop
                                                                              : Pause::none;
}

char lower(char c) {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}

}  // namespace

std::vector<PromptWord> prompt_words(std::string_view text) {
  std::vector<PromptWord> words;
  PromptWord word;
  const auto end_word = [&] {
    if (!word.text.empty())
      words.push_back(std::exchange(word, {}));
  };
  for (std::size_t at = 0; at < text.size();) {
    const bool is_long_mark = is_punctuation(text.substr(at));
    if (!is_long_mark && is_of_a_word(text[at])) {
      word.text += lower(text[at++]);
      continue;
    }
    const std::size_t size = is_long_mark ? 3 : 1;
    const bool is_hyphen =
        text[at] == '-' && !word.text.empty() && at + 1 < text.size() && is_of_a_word(text[at + 1]);
    end_word();
    word.before = std::max(word.before, pause_of(text.substr(at, size)));
    word.hyphened = is_hyphen;
    at += size;
  }
  end_word();
  return words;
}

}  // namespace fgdm
