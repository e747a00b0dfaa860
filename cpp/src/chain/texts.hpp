#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "fgdm/bundle.hpp"
#include "fgdm/request.hpp"

namespace fgdm {

// A text and its ids, as many as the text encoder takes.
struct EncodedText {
  std::string text;
  std::vector<std::int64_t> ids;
};

// What one factor takes from a request's texts.
struct FactorTexts {
  EncodedText prompt;  // between the factor's prefix and suffix
  EncodedText negative_prompt;
  // What the text encoder doesn't read of prompts of the factor's own.
  std::string truncated, negative_truncated;
  // Of a factor that makes maps, class indices: what recall counts; what the prompt excludes; what
  // is named only in the part of the prompt that the text encoder doesn't read.
  std::vector<int> requested, excluded, unread;
  std::vector<std::string> unrecognized;
  std::size_t unrecognized_omitted = 0;
};

// All that has to be done with a request's texts, whose time depends on their length: submit() does
// it on the caller's thread.
struct RequestTexts {
  std::vector<FactorTexts> factors;  // in the manifest's order
  // What the text encoder doesn't read of the request's own texts: of the prompt, by the factor
  // that reads least of it, and of the negative prompt; empty where it reads all.
  std::string truncated, negative_truncated;
};

// Reads the texts of a resolved request. Throws RequestError for text that isn't UTF-8, and for
// `objects` that a palette lacks.
RequestTexts read_texts(const Request& resolved, const Bundle& bundle);

// How many bytes of `text`, up to the end of a word, the text encoder reads after `prefix`. All of
// them where all tokens fit.
std::size_t bytes_read(const Tokenizer& tokenizer, const std::string& prefix,
                       std::string_view text);

}  // namespace fgdm
