#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "fgdm/api.h"

namespace fgdm {

struct TreeFolder;  // a folder on the disk or in an archive

// CLIP's tokenizer: lower-cased, byte-level byte pair encoding, with the same ids as transformers'
// CLIPTokenizer. Immutable, cheap to copy, and usable from many threads.
class FGDM_API Tokenizer {
public:
  // The longest text that is accepted, in bytes.
  static constexpr std::size_t max_text_size = std::size_t{1} << 20;

  // Reads `folder`, which may lie in an archive that `fgdm pack` made (scenes.fgdm/tokenizer), in
  // the layout of transformers: vocab.json and merges.txt, and where they exist
  // tokenizer_config.json and special_tokens_map.json, which name the special tokens. Defaults are
  // <|startoftext|> for the beginning and <|endoftext|> for the end, padding and unknown bytes.
  // `max_length` is the number of ids of every encoded text.
  // Throws BundleError for missing, damaged or unsupported files and RequestError for max_length
  // < 2.
  static Tokenizer load(const std::filesystem::path& folder, int max_length);
  static Tokenizer load(const TreeFolder& folder, int max_length);

  int max_length() const;

  // The beginning token, the text's tokens, cut so that everything fits, the end token, and
  // padding: exactly max_length() ids. A special token's text, inside `utf8`, becomes that token.
  // Throws RequestError if the text is not UTF-8 (and says where) or exceeds max_text_size.
  std::vector<std::int64_t> encode(std::string_view utf8) const;

  // Whether encode() keeps all of the text's tokens. Throws as encode().
  bool fits(std::string_view utf8) const;

  // The text's tokens as the vocabulary spells them: all of them, without beginning, end and
  // padding. Throws as encode().
  std::vector<std::string> tokenize(std::string_view utf8) const;

private:
  class Implementation;

  explicit Tokenizer(std::shared_ptr<const Implementation> implementation);

  std::shared_ptr<const Implementation> implementation_;
};

}  // namespace fgdm
