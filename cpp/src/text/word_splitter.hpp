#pragma once

#include <cstddef>
#include <string_view>

namespace fgdm {

// Cuts normalised text into the words that are encoded separately: CLIP's regular expression
//   <\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+
// and on each of its matches GPT-2's, which cuts the two literals into three words again.
class WordSplitter {
public:
  explicit WordSplitter(std::u32string_view text) : text_(text) {}

  // The next word, or an empty one at the end.
  std::u32string_view next();

private:
  template <typename Predicate> std::size_t run_length(Predicate predicate) const;

  std::u32string_view text_;      // what remains
  std::size_t literal_size_ = 0;  // of a literal that text_ starts inside of, up to its end
};

}  // namespace fgdm
