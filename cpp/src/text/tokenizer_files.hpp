#pragma once

#include <string>
#include <utility>
#include <vector>

#include "bpe.hpp"
#include "file_tree.hpp"

namespace fgdm {

// A token whose text, inside a prompt, becomes its ids.
struct SpecialToken {
  std::string text;
  std::vector<int> ids;  // its own, and those of "text_1", "text_2", …: a learned word of several
                         // vectors, as diffusers expands it
  bool is_normalized;    // looked for in the normalised text; else in the text as it is given
  bool takes_space_before;
  bool takes_space_after;
};

// What a tokenizer folder says.
struct TokenizerFiles {
  Vocabulary vocabulary;  // ids are distinct and less than max_vocabulary_size
  std::vector<std::pair<std::string, std::string>> merges;
  std::vector<SpecialToken> special_tokens;
  int bos;
  int eos;
  int unknown;
  int pad;
};

inline constexpr int max_vocabulary_size = 1 << 24;

// Reads vocab.json, merges.txt and, where they exist, tokenizer_config.json and
// special_tokens_map.json, with transformers' rules for which says what. Throws BundleError.
TokenizerFiles read_tokenizer_files(const TreeFolder& folder);

}  // namespace fgdm
