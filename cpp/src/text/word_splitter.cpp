#include "word_splitter.hpp"

#include <algorithm>

#include "unicode.hpp"

namespace fgdm {

namespace {

constexpr std::u32string_view literals[] = {U"<|startoftext|>", U"<|endoftext|>"};
constexpr std::u32string_view contractions[] = {U"'s", U"'t", U"'re", U"'ve", U"'m", U"'ll", U"'d"};

template <std::size_t N>
std::size_t prefix_size(std::u32string_view text, const std::u32string_view (&prefixes)[N]) {
  for (const std::u32string_view prefix : prefixes)
    if (text.starts_with(prefix))
      return prefix.size();
  return 0;
}

bool is_other(char32_t character) {
  return !unicode::is_space(character) && !unicode::is_letter(character) &&
         !unicode::is_number(character);
}

}  // namespace

template <typename Predicate> std::size_t WordSplitter::run_length(Predicate predicate) const {
  const auto end =
      literal_size_ > 0 ? text_.begin() + static_cast<std::ptrdiff_t>(literal_size_) : text_.end();
  return static_cast<std::size_t>(std::find_if_not(text_.begin(), end, predicate) - text_.begin());
}

std::u32string_view WordSplitter::next() {
  if (literal_size_ == 0) {
    text_.remove_prefix(run_length(unicode::is_space));
    literal_size_ = prefix_size(text_, literals);
  }
  if (text_.empty())
    return {};
  std::size_t size = prefix_size(text_, contractions);
  if (size == 0)
    size = run_length(unicode::is_letter);
  if (size == 0)
    size = unicode::is_number(text_.front()) ? 1 : run_length(is_other);
  const std::u32string_view word = text_.substr(0, size);
  text_.remove_prefix(size);
  literal_size_ -= std::min(literal_size_, size);
  return word;
}

}  // namespace fgdm
