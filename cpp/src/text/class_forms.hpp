#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "fgdm/palette.hpp"
#include "prompt_words.hpp"

namespace fgdm {

// Whether an English word names no thing on its own.
bool is_function_word(std::string_view word);

// Where the forms of a palette's classes, and the words of its attributes, are looked up.
class ClassForms {
public:
  explicit ClassForms(const Palette& palette);

  struct Found {
    int index;           // of the class, or the attribute
    std::size_t length;  // words
    bool is_name;        // the class's name or a synonym, not a plural; any word of an attribute
  };

  // The longest form that `words` begin with; of equal ones the first class's.
  std::optional<Found> find(std::span<const PromptWord> words) const;

  // The longest form or word of an attribute that `words` begin with. A phrase may be both, as
  // "man" is a person, and male.
  struct Said {
    std::optional<Found> of_class, of_attribute;
    std::size_t length;  // words; 0: neither
  };
  Said said(std::span<const PromptWord> words) const;

private:
  // Phrases by their first word, the longest first.
  class Index {
  public:
    void add(std::string_view text, int index, bool is_name);
    void sort();
    std::optional<Found> find(std::span<const PromptWord> words) const;

  private:
    struct Form {
      std::vector<PromptWord> words;
      int index;
      bool is_name;
    };
    std::unordered_map<std::string, std::vector<Form>> by_first_word_;
  };

  Index classes_, attributes_;
};

}  // namespace fgdm
