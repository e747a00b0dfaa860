#include "fgdm/tokenizer.hpp"

#include <algorithm>
#include <limits>
#include <utility>

#include "added_tokens.hpp"
#include "bpe.hpp"
#include "fgdm/error.hpp"
#include "tokenizer_files.hpp"
#include "unicode.hpp"
#include "word_splitter.hpp"

namespace fgdm {

namespace {

constexpr std::size_t no_limit = std::numeric_limits<std::size_t>::max();

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
      AddedTokens& tokens = token.is_normalized ? normalized_tokens_ : tokens_;
      tokens.add({token.is_normalized ? normalize(text) : text, token.ids, token.takes_space_before,
                  token.takes_space_after});
      name(token.ids.front(), token.text);
    }
    for (const auto& [token, id] : files.vocabulary)
      name(id, token);
  }

  int max_length() const { return max_length_; }

  const std::string& token(int id) const { return names_[static_cast<std::size_t>(id)]; }

  // The ids of the text; may stop as soon as there are `limit`.
  std::vector<int> text_ids(std::string_view utf8, std::size_t limit) const {
    if (utf8.size() > max_text_size)
      throw RequestError("prompt has " + std::to_string(utf8.size()) + " bytes, expected at most " +
                         std::to_string(max_text_size) + "; shorten it");
    std::vector<int> ids;
    const std::u32string text = unicode::decode_utf8(utf8);
    tokens_.split(text, limit, ids, [&](std::u32string_view piece) {
      normalized_tokens_.split(normalize(piece), limit, ids, [&](std::u32string_view normalized) {
        encode_words(normalized, limit, ids);
      });
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

  bool fits(std::string_view utf8) const {
    const auto most = static_cast<std::size_t>(max_length_) - 2;
    return text_ids(utf8, most + 1).size() <= most;
  }

private:
  void name(int id, const std::string& token) {
    const auto index = static_cast<std::size_t>(id);
    if (index >= names_.size())
      names_.resize(index + 1);
    names_[index] = token;
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
  AddedTokens tokens_;              // looked for in the text as it is given
  AddedTokens normalized_tokens_;   // and in the normalized text between those
  std::vector<std::string> names_;  // by id
  int max_length_;
  int bos_;
  int eos_;
  int pad_;
};

Tokenizer::Tokenizer(std::shared_ptr<const Implementation> implementation)
    : implementation_(std::move(implementation)) {}

Tokenizer Tokenizer::load(const std::filesystem::path& folder, int max_length) {
  return load(find_folder(folder), max_length);
}

Tokenizer Tokenizer::load(const TreeFolder& folder, int max_length) {
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

bool Tokenizer::fits(std::string_view utf8) const {
  return implementation_->fits(utf8);
}

std::vector<std::string> Tokenizer::tokenize(std::string_view utf8) const {
  std::vector<std::string> result;
  for (const int id : implementation_->text_ids(utf8, no_limit))
    result.push_back(implementation_->token(id));
  return result;
}

}  // namespace fgdm
