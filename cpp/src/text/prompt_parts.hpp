#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "class_forms.hpp"
#include "fgdm/requirements.hpp"
#include "prompt_words.hpp"

namespace fgdm {

// A piece of a prompt as requirements are read from it: words from `begin` to before `end`.
struct PromptPart {
  enum class Kind {
    noun,      // a class, or what names none: label -1
    relation,  // one that maps can show
    link,      // one that they can't: "near", "in"
    place,     // one without an object: "on the left"
    joins,     // "and"
    comma,     // or "or"
    has,       // "with": what follows begins anew
    exists,    // "there is": likewise
    stands,    // "is", "sits"
    which,     // "which", "that", "who"
    pronoun,   // "it", "them"
    stop
  };

  Kind kind;
  std::size_t begin, end;
  Relation relation{};
  // Of a noun, with the words before it:
  int label = -1;
  std::string form{};       // of the class, as the prompt has it
  bool plural = false;      // the form is no name of the class
  bool excluded = false;    // by a negation
  bool counted = false;     // by a number: `least` to `most`
  bool vague = false;       // by a word such as "several"
  bool indefinite = false;  // "a", "an", "another"
  bool definite = false;    // "the", "these", ...
  bool part = false;        // of the things named before: "one of them"
  int least = 1;
  std::optional<int> most{};
  std::vector<std::string> colors{};

  bool is_class() const { return label >= 0 && !excluded; }
};

// The parts of a prompt's words, and counts and colours that belong to nothing (`unread`, as parts
// of no kind that matters).
struct PromptParts {
  std::vector<PromptPart> parts;
  std::vector<PromptPart> unread;
};
PromptParts prompt_parts(std::span<const PromptWord> words, const ClassForms& forms);

}  // namespace fgdm
