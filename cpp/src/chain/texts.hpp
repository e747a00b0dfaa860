#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "fgdm/bundle.hpp"
#include "fgdm/compliance.hpp"
#include "fgdm/request.hpp"

namespace fgdm {

// A text and its ids, as many as the text encoder takes.
struct EncodedText {
  std::string text;
  std::vector<std::int64_t> ids;
};

// An edit's text, and the class of its region; -1: none.
struct EditText {
  EncodedText prompt;
  int region;
  // The tokens of the edit's own words, between the factor's prefix and suffix, that are read.
  int first_token, tokens;
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
  Requirements required;                    // what maps are checked against
  std::vector<std::string> not_understood;  // PromptRequirements::unread
  std::vector<MapFilter> filters;           // what refuses a map
  std::vector<EditText> edits;              // of the factor that is edited
};

// All that has to be done with a request's texts, whose time depends on their length: submit() does
// it on the caller's thread.
struct RequestTexts {
  std::vector<FactorTexts> factors;  // in the manifest's order
  // What the text encoder doesn't read of the request's own texts: of the prompt, by the factor
  // that reads least of it, and of the negative prompt; empty where it reads all.
  std::string truncated, negative_truncated;
};

// Reads the texts of a resolved request. `policy`: filters that hold beside the request's. Throws
// RequestError for text that isn't UTF-8, for what a palette lacks, and for requirements and
// filters where no map can be checked.
RequestTexts read_texts(const Request& resolved, const Bundle& bundle,
                        const std::string& policy = {});

// Throws RequestError for filters that no map of this bundle can be checked against.
void check_policy(const std::string& policy, const Bundle& bundle);

// How many bytes of `text`, up to the end of a word, the text encoder reads after `prefix`. All of
// them where all tokens fit.
std::size_t bytes_read(const Tokenizer& tokenizer, const std::string& prefix,
                       std::string_view text);

}  // namespace fgdm
