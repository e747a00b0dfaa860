// What a prompt forbids must not be asked for, and what only sounds like it must be: each phrase
// with the classes it requests and those it excludes.
#include "negation.hpp"

#include <gtest/gtest.h>

#include <algorithm>

#include "fgdm/objects.hpp"

namespace negation_test {
namespace {

using fgdm::Palette;

Palette palette() {
  std::string classes;
  for (const char* name : {"dog", "cat", "house", "tree", "boat", "umbrella", "car", "person"}) {
    const auto index = std::to_string(std::ranges::count(classes, '{'));
    const std::string forms = std::string(name) == "person"
                                  ? R"("person", "people")"
                                  : '"' + std::string(name) + "\", \"" + std::string(name) + "s\"";
    classes += (classes.empty() ? "" : ", ") + std::string(R"({"index": )") + index +
               R"(, "name": ")" + name + R"(", "color": [)" + index +
               R"(, 0, 0], "kind": "thing", "forms": [)" + forms + "]}";
  }
  return Palette::parse(R"({"name": "test", "tolerance": 0, "classes": [)" + classes + "]}");
}

std::string names(const Palette& from, const std::vector<int>& indices) {
  std::string text;
  for (const int index : indices)
    text += (text.empty() ? "" : " ") + from.classes()[static_cast<std::size_t>(index)].name;
  return text;
}

struct Case {
  const char *prompt, *requested, *excluded;
};

const Case cases[] = {
    {"a house without trees", "house", "tree"},
    {"a person not wearing a cat", "person", "cat"},
    {"a person who doesn't wear cats", "person", "cat"},
    {"a person without a cat wearing a dog", "person dog", "cat"},
    {"no dogs, only a cat", "cat", "dog"},
    {"neither boats nor umbrellas", "", "boat umbrella"},
    {"a beach with neither boats nor umbrellas", "", "boat umbrella"},
    {"neither a dog nor a cat beside a house", "house", "dog cat"},
    {"not a dog", "", "dog"},
    {"not a dog but a cat", "cat", "dog"},
    {"a cat, not a dog", "cat", "dog"},
    {"a street free of cars", "", "car"},
    {"a street free from cars and people", "", "car person"},
    {"a garden devoid of trees", "", "tree"},
    {"a cat instead of a dog", "cat", "dog"},
    {"instead of a dog, a cat", "cat", "dog"},
    {"a boat rather than a car", "boat", "car"},
    {"everything except cars", "", "car"},
    {"all kinds of animals except for dogs", "", "dog"},
    {"a house, excluding trees", "house", "tree"},
    {"nothing other than a dog", "dog", ""},
    {"no animals except dogs", "dog", ""},
    {"no animals but dogs", "dog", ""},
    {"nothing but dogs", "dog", ""},
    {"nobody but a person with a dog", "person dog", ""},
    {"no doubt a dog", "dog", ""},
    {"without a doubt, a dog and a cat", "dog cat", ""},
    {"without doubt two dogs", "dog", ""},
    {"not only dogs but also cats", "dog cat", ""},
    {"not just a dog, a cat too", "dog cat", ""},
    {"not far from a house", "house", ""},
    {"a dog not far from a house", "dog house", ""},
    {"a dog, not to mention a cat", "dog cat", ""},
    {"no fewer than three boats", "boat", ""},
    {"no more than two dogs", "dog", ""},
    {"not without trees", "tree", ""},
    {"never without an umbrella", "umbrella", ""},
    {"no lack of trees", "tree", ""},
    {"none other than a cat", "cat", ""},
    {"last but not least a dog", "dog", ""},
    {"no matter where, a dog", "dog", ""},
    {"a lack of trees", "", "tree"},
    {"the absence of people", "", "person"},
    {"a house lacking trees", "house", "tree"},
    {"no dogs and a cat", "cat", "dog"},
    {"no dogs and cats", "", "dog cat"},
    {"no dogs or cats", "", "dog cat"},
    {"without a dog or a cat", "", "dog cat"},
    {"without dogs, cats or people, a house", "house", "dog cat person"},
    {"a house without trees, a dog", "house dog", "tree"},
    {"a house without trees, two dogs or a cat", "house dog cat", "tree"},
    {"a house without trees and two dogs", "house dog", "tree"},
    {"a house without trees with a dog", "house dog", "tree"},
    {"a house. No trees. A dog.", "house dog", "tree"},
    {"no trees; dogs", "dog", "tree"},
    {"no trees\ndogs", "dog", "tree"},
    {"a house (no trees) and a dog", "house dog", "tree"},
    {"no dogs beside the house", "house", "dog"},
    {"no big brown dogs under a tree", "tree", "dog"},
    {"there are no cars, there is a boat", "boat", "car"},
    {"no people, no cars, a house", "house", "person car"},
    {"there isn't a dog", "", "dog"},
    {"there isn\xE2\x80\x99t a dog, but a cat", "cat", "dog"},
    {"the person doesn't have an umbrella", "person", "umbrella"},
    {"a house \xE2\x80\x94 no trees \xE2\x80\x94 a dog", "house dog", "tree"},
    {"a dog that is not sitting on a boat", "dog boat", ""},
    {"a dog not on a boat", "dog boat", ""},
    {"the dog isn't on the boat, and no cat", "dog boat", "cat"},
    {"a car-free street with a dog", "dog", "car"},
    {"everything but a dog", "", "dog"},
    {"a dog, no other dogs", "dog", ""},
    {"no dog and a dog", "dog", ""},
    {"a notable house, a northern cat, a knot and a dog", "house cat dog", ""},
    {"no", "", ""},
    {"a dog and no", "dog", ""},
    {"WITHOUT Trees", "", "tree"},
    {"no picture of a dog", "", "dog"},
    {"no-one beside a car", "car", ""},
    {"nobody in the house", "house", ""},
    {"none of the dogs", "", "dog"},
    {"the dog does not have a house", "dog", "house"},
    {"minus the cars", "", "car"},
    {"zero cars and one dog", "dog", "car"},
    {"with dogs, with cats", "dog cat", ""},
    {"if not a dog then a cat", "dog cat", ""},
};

TEST(Negation, EveryPhraseAsksForWhatItMeans) {
  static_assert(std::size(cases) >= 60);
  const auto known = palette();
  for (const auto& [prompt, requested, excluded] : cases) {
    const auto objects = fgdm::find_objects(known, prompt);
    EXPECT_EQ(names(known, objects.requested), requested) << prompt;
    EXPECT_EQ(names(known, objects.excluded), excluded) << prompt;
  }
}

// What isn't wanted isn't missing from the palette either; nor are the words that say so.
TEST(Negation, ForbiddenAndGrammaticalWordsAreNotUnrecognized) {
  const auto objects =
      fgdm::find_objects(palette(), "no doubt a unicorn, but neither dragons nor witches");
  EXPECT_EQ(objects.unrecognized, (std::vector<std::string>{"unicorn"}));
}

TEST(Negation, EveryWordHasARole) {
  const auto words = fgdm::prompt_words("no more than, except, a dog or not");
  EXPECT_EQ(fgdm::roles(words).size(), words.size());
  EXPECT_TRUE(fgdm::roles({}).empty());
}

}  // namespace
}  // namespace negation_test
