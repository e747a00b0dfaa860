#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace fgdm {

// What stands between a word and the one before it.
enum class Pause { none, comma, stop };  // stop: a full stop, semicolon, colon, bracket, new line

struct PromptWord {
  std::string text;  // a run of ASCII letters, in lower case, digits and non-ASCII characters
  Pause before = Pause::none;
  bool hyphened = false;  // to the one before
};

// The words of a prompt. Takes time in proportion to it.
std::vector<PromptWord> prompt_words(std::string_view text);

}  // namespace fgdm
