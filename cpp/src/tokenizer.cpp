#include "fgdm/tokenizer.hpp"

#include <algorithm>
#include <limits>
#include <utility>

#include "bpe.hpp"
#include "fgdm/error.hpp"
#include "tokenizer_files.hpp"
#include "unicode.hpp"
#include "word_splitter.hpp"

namespace fgdm {

namespace {

constexpr std::size_t no_limit = std::numeric_limits<std::size_t>::max();

struct Pattern {
  std::u32string text;
  int id;
};

struct Match {
  std::size_t begin;
  const Pattern* pattern;  // null if there is none
};

// The leftmost of all patterns in `text`, the longest of those that start there.
Match find_first(std::u32string_view text, const std::vector<Pattern>& patterns) {
  for (std::size_t begin = 0; begin < text.size(); ++begin) {
    const Pattern* longest = nullptr;
    for (const Pattern& pattern : patterns)
      if (text[begin] == pattern.text[0] && text.substr(begin).starts_with(pattern.text) &&
          (longest == nullptr || pattern.text.size() > longest->text.size()))
        longest = &pattern;
    if (longest != nullptr)
      return {begin, longest};
  }
  return {text.size(), nullptr};
}

// Composed, every run of white space one space, lower case.
std::u32string normalize(std::u32string_view text) {
  std::u32string collapsed;
  for (const char32_t character : unicode::nfc(text)) {
    if (!unicode::is_space(character))
      collapsed += character;
    else if (collapsed.empty() || collapsed.back() != U' ')
      collapsed += U' ';
  }
  return unicode::lowercase(collapsed);
}

}  // namespace

class Tokenizer::Implementation {
public:
  Implementation(const TokenizerFiles& files, int max_length)
      : encoder_(files.vocabulary, files.merges, files.unknown), max_length_(max_length),
        bos_(files.bos), eos_(files.eos), pad_(files.pad) {
    for (const SpecialToken& token : files.special_tokens) {
      const std::u32string text = unicode::decode_utf8(token.text);
      if (!token.is_normalized)
        patterns_.push_back({text, token.id});
      else
        normalized_patterns_.push_back({normalize(text), token.id});
    }
    for (const auto& [token, id] : files.vocabulary) {
      const auto index = static_cast<std::size_t>(id);
      if (index >= tokens_.size())
        tokens_.resize(index + 1);
      tokens_[index] = token;
    }
  }

  int max_length() const { return max_length_; }

  const std::string& token(int id) const { return tokens_[static_cast<std::size_t>(id)]; }

  // The ids of the text; may stop as soon as there are `limit`.
  std::vector<int> text_ids(std::string_view utf8, std::size_t limit) const {
    if (utf8.size() > max_text_size)
      throw RequestError("prompt has " + std::to_string(utf8.size()) + " bytes, expected at most " +
                         std::to_string(max_text_size) + "; shorten it");
    std::vector<int> ids;
    const std::u32string text = unicode::decode_utf8(utf8);
    split(text, patterns_, limit, ids, [&](std::u32string_view piece) {
      split(normalize(piece), normalized_patterns_, limit, ids,
            [&](std::u32string_view normalized) { encode_words(normalized, limit, ids); });
    });
    return ids;
  }

  std::vector<std::int64_t> encode(std::string_view utf8) const {
    const auto size = static_cast<std::size_t>(max_length_);
    const std::vector<int> ids = text_ids(utf8, size - 2);
    const std::size_t num_kept = std::min(ids.size(), size - 2);
    std::vector<std::int64_t> result(size, pad_);
    result[0] = bos_;
    std::copy_n(ids.begin(), num_kept, result.begin() + 1);
    result[num_kept + 1] = eos_;
    return result;
  }

private:
  // Appends the ids of the patterns in `text` and calls `encode_piece` for what lies between them.
  template <typename EncodePiece>
  static void split(std::u32string_view text, const std::vector<Pattern>& patterns,
                    std::size_t limit, std::vector<int>& ids, EncodePiece encode_piece) {
    while (!text.empty() && ids.size() < limit) {
      const Match match = find_first(text, patterns);
      if (match.begin > 0)
        encode_piece(text.substr(0, match.begin));
      text.remove_prefix(match.begin);
      if (match.pattern != nullptr) {
        ids.push_back(match.pattern->id);
        text.remove_prefix(match.pattern->text.size());
      }
    }
  }

  void encode_words(std::u32string_view text, std::size_t limit, std::vector<int>& ids) const {
    WordSplitter splitter(text);
    std::string bytes;
    for (auto word = splitter.next(); !word.empty() && ids.size() < limit; word = splitter.next()) {
      bytes.clear();
      for (const char32_t character : word)
        unicode::append_utf8(character, bytes);
      encoder_.encode(bytes, ids);
    }
  }

  BytePairEncoder encoder_;
  std::vector<Pattern> patterns_;
  std::vector<Pattern> normalized_patterns_;
  std::vector<std::string> tokens_;  // by id
  int max_length_;
  int bos_;
  int eos_;
  int pad_;
};

Tokenizer::Tokenizer(std::shared_ptr<const Implementation> implementation)
    : implementation_(std::move(implementation)) {}

Tokenizer Tokenizer::load(const std::filesystem::path& folder, int max_length) {
  if (max_length < 2)
    throw RequestError("max_length is " + std::to_string(max_length) +
                       ", expected at least 2, for the beginning and end tokens");
  return Tokenizer(
      std::make_shared<const Implementation>(read_tokenizer_files(folder), max_length));
}

int Tokenizer::max_length() const {
  return implementation_->max_length();
}

std::vector<std::int64_t> Tokenizer::encode(std::string_view utf8) const {
  return implementation_->encode(utf8);
}

std::vector<std::string> Tokenizer::tokenize(std::string_view utf8) const {
  std::vector<std::string> result;
  for (const int id : implementation_->text_ids(utf8, no_limit))
    result.push_back(implementation_->token(id));
  return result;
}

}  // namespace fgdm
