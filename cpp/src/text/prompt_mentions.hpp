#pragma once

#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "fgdm/palette.hpp"
#include "fgdm/requirements.hpp"
#include "prompt_parts.hpp"

namespace fgdm {

// Which nouns of a prompt speak of the same things, and of how many.
class PromptMentions {
public:
  PromptMentions(const Palette& palette, std::span<const PromptPart> parts, bool articles_count);

  // The noun at a place speaks of so many at least: "between houses".
  void need(std::size_t place, int least);

  // Whether the noun at a place adds to what is required of its class: not "dogs".
  bool adds(std::size_t place) const;

  // What the noun at a place of the parts speaks of; it must be a class's.
  Mention at(std::size_t place) const;

  // Of all classes that have instances, in the order in which they are first named: those of which
  // more is said than that they are there.
  std::vector<CountRequirement> counts() const;

private:
  struct Group {
    int which;
    int least;
    std::optional<int> most;
    bool is_exact, adds;  // to what is required of the class
    bool is_told;         // by a number or a word like one
    std::string form;
    std::vector<std::string> colors;
  };
  struct Place {
    int label;
    std::size_t group;
  };

  std::optional<std::size_t> same_as_before(const PromptPart& noun) const;
  void add(const PromptPart& noun, bool articles_count);

  const Palette& palette_;
  std::map<int, std::vector<Group>> groups_;  // by class
  std::vector<int> order_;
  std::map<std::size_t, Place> places_;
};

}  // namespace fgdm
