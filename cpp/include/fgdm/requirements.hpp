#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "fgdm/api.h"
#include "fgdm/palette.hpp"

namespace fgdm {

// Where one thing is as seen from another.
enum class Relation {
  left_of,
  right_of,
  above,
  below,
  on,
  under,
  beside,
  between,
  in_front_of,
  behind
};

// "left of", "in front of", ...; the relation of such a name.
FGDM_API std::string_view relation_name(Relation relation);
FGDM_API std::optional<Relation> relation_of(std::string_view name);

// All classes below are indices of a palette.

struct FGDM_API CountRequirement {
  int label;
  int least = 1;            // instances, 1 to most_instances
  std::optional<int> most;  // likewise, not below `least`; unset: any number
};

// Things of one class that are spoken of together, as an end of relations: "two dogs" in "a dog
// beside a house and two dogs under a tree".
struct FGDM_API Mention {
  int label;
  int least = 1;  // instances, 1 to most_instances; of a background 1
  int which = 1;  // 1 or more; the same in several ends of a class: the same things

  bool operator==(const Mention&) const = default;
};

struct FGDM_API RelationRequirement {
  Mention subject;
  Relation relation;
  Mention object;
  std::optional<Mention> other;  // of `between`, the second object; may be the same mention

  bool operator==(const RelationRequirement&) const = default;
};

struct FGDM_API ColorRequirement {
  int label;
  std::string color;
};

// The largest number of instances that can be asked for.
inline constexpr int most_instances = 1000;

// What a picture shall hold and how, in a palette's classes. What is counted, related or coloured
// is present too. In this order they are described and checked: present, counts, relations, absent,
// colors, attributes.
struct FGDM_API Requirements {
  std::vector<int> present;
  std::vector<CountRequirement> counts;
  std::vector<RelationRequirement> relations;
  std::vector<int> absent;
  std::vector<ColorRequirement> colors;   // no map says whether they are met
  std::vector<SaidAttribute> attributes;  // nor of these, which the palette knows as not shown
};

// What the mentions of a class in relations come to.
struct FGDM_API ClassMentions {
  int number = 0;  // of mentions
  // Whether they are different things: so many are required of the class, all together.
  bool are_different = false;
  int usual_least = 1;  // of an end that gives none: what is required of the class, if it has one
                        // mention, else 1
};
FGDM_API ClassMentions mentions_of(const Requirements& requirements, int label);

// One of them for people and programs to read.
struct FGDM_API RequirementText {
  std::string kind;  // "present", "count", "relation", "absent", "color" or "attribute"
  // "dog", "2 dog", "at least 3 tree", "2 dog left of another house", "no cat", "red house",
  // "young", "no beard"
  std::string text;
};
FGDM_API std::vector<RequirementText> describe(const Palette& palette,
                                               const Requirements& requirements);

// Reads requirements from JSON:
//
//   {"objects": ["sun", {"class": "dog", "count": 2, "color": "brown"},
//                {"class": "tree", "at_least": 2, "at_most": 4}],
//    "relations": [{"subject": "dog", "relation": "left of", "object": "house"},
//                  {"subject": "cat", "relation": "between", "object": ["house", "tree"]},
//                  {"subject": {"class": "tree", "count": 2, "which": 2}, "relation": "behind",
//                   "object": "house"}],
//    "absent": ["person"], "attributes": ["bald", "no beard"]}
//
// Every key may be left out; classes are given by any form that the palette knows. An end of a
// relation is ClassMentions::usual_least of the first mention of its class, the object of a class's
// relation with itself of the second, and of "between" the same two or more. Attributes are given
// by their names or words, after "no " denied, and ask for their classes as in a prompt. Throws
// RequestError that names the place, what was found there and what was expected.
FGDM_API Requirements parse_requirements(const Palette& palette, std::string_view json);

// The JSON of requirements, which parse_requirements reads.
FGDM_API std::string requirements_json(const Palette& palette, const Requirements& requirements);

// What a prompt asks for beside its classes; see find_requirements.
struct FGDM_API PromptRequirements {
  Requirements requirements;
  // What was not understood, word for word: relations without two known ends, relations that no map
  // can show, counts of what has no instances.
  std::vector<std::string> unread;
};

// Reads an English prompt: classes that are present and absent as find_objects does, counts ("two
// dogs", "at least three trees", "a pair of", "several"), relations ("to the left of", "on top of",
// "between a house and a tree", "under which", "behind it"), colours ("a red and white boat") and
// the palette's attributes.
//
// A relation goes from the things named last to the thing named next; things that are joined by
// "and" are one subject ("a dog and a cat under a tree": both), and an object is one thing. "a" and
// "an" are one or more, several of them add up, and with `articles_count` each is exactly one. Each
// of them is a mention of its own, to which its relations belong; "the dog" is the one before. Of
// background classes nothing is counted. Takes time in proportion to the prompt.
FGDM_API PromptRequirements find_requirements(const Palette& palette, std::string_view prompt,
                                              bool articles_count = false);

}  // namespace fgdm
