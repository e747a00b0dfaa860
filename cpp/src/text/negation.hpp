#pragma once

#include <span>
#include <vector>

#include "prompt_words.hpp"

namespace fgdm {

// What a word of a prompt is for.
enum class Role {
  asked,     // it may name something that the picture shall hold
  excluded,  // it stands in the scope of a negation: "without trees"
  denied,    // a preposition that is negated itself: "not under a tree"
  grammar    // it opens or ends such a scope, or is part of a phrase that excludes nothing
};

// The role of each word of an English prompt.
//
// A negation ("no", "without", "instead of", ...) excludes what follows it: up to a pause, a word
// that turns to something else ("but", "with", ...), a preposition, or an article or number that
// begins another thing ("no dogs and a cat" asks for the cat). "or", "nor" and a bare "and" go on,
// and so does a comma in a list that ends in "or" or "nor". An exception ("except") excludes, too,
// but not from a negation: "no animals except dogs" asks for dogs. "not" before a preposition
// excludes nothing: "not on the bench" says where, and "cloud-free" excludes clouds. Phrases such
// as "no doubt" and "not only" exclude nothing. Takes time in proportion to the number of words.
std::vector<Role> roles(std::span<const PromptWord> words);

}  // namespace fgdm
