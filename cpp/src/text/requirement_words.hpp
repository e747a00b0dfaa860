#pragma once

#include <optional>
#include <span>
#include <string_view>

#include "fgdm/requirements.hpp"
#include "prompt_words.hpp"

namespace fgdm {

// What a phrase of a prompt means for the words around it.
struct PhraseMeaning {
  enum class Kind {
    relation,
    link,
    place,
    joins,
    comma,
    has,
    which,
    pronoun,
    number,      // `number`
    times,       // after a number: `number` times as many
    about,       // before a number: nearly so many
    at_least,    // before a number: or more
    at_most,     // before a number: or fewer
    more_than,   // before a number: more
    fewer_than,  // before a number: fewer
    or_more,     // after a number
    or_fewer,    // after a number
    vague,       // "several": `number` or more
    both,        // two that are known
    indefinite,
    definite,
    is,      // "is", "are"
    exists,  // "there is"
    stands,  // "sits": what follows is said of the subject
    color,
    adverb  // names nothing
  };

  Kind kind;
  Relation relation{};
  int number = 0;
};

struct FoundPhrase {
  PhraseMeaning meaning;
  std::size_t length;  // words
};

// The longest known phrase that `words`, one or more, begin with, or a number in digits.
std::optional<FoundPhrase> requirement_phrase(std::span<const PromptWord> words);

}  // namespace fgdm
