// Protects what is read from prompts, against labels that were written by hand, and the JSON of it.
#include "fgdm/requirements.hpp"

#include <gtest/gtest.h>

#include <chrono>
#include <fstream>
#include <iostream>
#include <map>
#include <sstream>

#include "fgdm/compliance.hpp"
#include "fgdm/error.hpp"
#include "fgdm/objects.hpp"
#include "labelled_prompts.hpp"

namespace fgdm {
namespace {

using testing_support::in_words;
using testing_support::read_prompts;
using Words = std::vector<std::string>;

Palette scenes() {
  std::ifstream file(FGDM_BUNDLES "/scenes/palette.json");
  std::stringstream text;
  text << file.rdbuf();
  return Palette::parse(text.str());
}

std::vector<testing_support::LabelledPrompt> prompts() {
  return read_prompts(FGDM_BUNDLES "/../tests/cpp/text/requirement_prompts.txt");
}

TEST(FindRequirements, ReadsLabelledPrompts) {
  const auto palette = scenes();
  std::map<int, int> right, all;
  std::string wrong;
  for (const auto& [prompt, expected, part] : prompts()) {
    const auto found = in_words(palette, find_requirements(palette, prompt));
    ++all[part];
    right[part] += found == expected ? 1 : 0;
    if (found != expected)
      wrong += prompt + "\n";
  }
  int total = 0, read = 0;
  for (const auto& [part, count] : all) {
    std::cout << "part " << part << ": " << right[part] << " of " << count << " prompts read\n";
    total += count;
    read += right[part];
  }
  EXPECT_GE(total, 500);
  EXPECT_GE(read, 0.98 * total) << wrong;
}

// Whatever else is read, what is present and absent is what find_objects says: recall is the same.
TEST(FindRequirements, PresenceIsThatOfFindObjects) {
  const auto palette = scenes();
  for (const auto& labelled : prompts()) {
    const auto objects = find_objects(palette, labelled.prompt);
    const auto found = find_requirements(palette, labelled.prompt).requirements;
    EXPECT_EQ(found.present, objects.requested) << labelled.prompt;
    EXPECT_EQ(found.absent, objects.excluded) << labelled.prompt;
  }
}

TEST(FindRequirements, ArticlesCountByOption) {
  const auto palette = scenes();
  EXPECT_EQ(in_words(palette, find_requirements(palette, "a dog and the cat", true)),
            (Words{"cat", "dog", "dog=1"}));
  EXPECT_EQ(in_words(palette, find_requirements(palette, "a dog beside another dog", true)),
            (Words{"dog", "dog beside dog#2", "dog=2"}));
}

TEST(FindRequirements, ManyWordsTakeLittleTime) {
  std::string prompt;
  for (int i = 0; i < 20'000; ++i)
    prompt += " red is, under two blue and it. ";
  const auto begin = std::chrono::steady_clock::now();
  const auto found = find_requirements(scenes(), prompt);
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(20));
  EXPECT_LE(found.unread.size(), most_unrecognized);
}

TEST(RequirementsJson, SaysAgainWhatWasRead) {
  const auto palette = scenes();
  for (const auto& labelled : prompts()) {
    auto found = find_requirements(palette, labelled.prompt);
    found.unread.clear();
    const auto json = requirements_json(palette, found.requirements);
    const auto again = parse_requirements(palette, json);
    EXPECT_EQ(in_words(palette, {again, {}}), in_words(palette, found)) << json;
  }
}

TEST(RequirementsJson, AnEndIsOfTheFirstMentionAndOfAsManyAsAreRequired) {
  const auto read = [](const char* json) {
    const auto palette = scenes();
    const auto required = parse_requirements(palette, json);
    Words texts;
    for (const auto& text : describe(palette, required))
      if (text.kind == "relation")
        texts.push_back(text.text);
    return texts;
  };
  EXPECT_EQ(read(R"({"objects": [{"class": "dog", "count": 2}],
                     "relations": [{"subject": "dog", "relation": "left of", "object": "house"}]})"),
            (Words{"2 dog left of house"}));
  EXPECT_EQ(read(R"({"relations": [{"subject": "dog", "relation": "left of", "object": "dog"}]})"),
            (Words{"dog left of dog"}));
  EXPECT_EQ(read(R"({"objects": [{"class": "dog", "at_least": 3}], "relations": [
                     {"subject": "dog", "relation": "beside", "object": "house"},
                     {"subject": {"class": "dog", "count": 2, "which": 2}, "relation": "under",
                      "object": "tree"}]})"),
            (Words{"dog beside house", "2 other dog under tree"}));
  EXPECT_EQ(read(R"({"relations": [{"subject": "cat", "relation": "between",
                                    "object": ["tree", "tree"]}]})"),
            (Words{"cat between 2 tree"}));
}

TEST(RequirementsJson, RefusesWithThePlace) {
  const std::pair<const char*, const char*> cases[] = {
      {"[]", "requirements should be an object"},
      {"{", "requirements can't be read"},
      {R"({"object": []})", "has \"object\", expected objects, relations, absent"},
      {R"({"objects": ["unicorn"]})", "requirements.objects[0]: objects names \"unicorn\""},
      {R"({"objects": [{"class": "dog", "count": 0}]})", "objects[0].count is 0, expected 1"},
      {R"({"objects": [{"class": "dog", "count": 1, "at_least": 1}]})", "give either"},
      {R"({"objects": [{"class": "dog", "at_least": 3, "at_most": 2}]})", "at most 2"},
      {R"({"objects": [{"class": "grass", "count": 1}]})", "is background"},
      {R"({"objects": [{"class": "dog", "count": 1}, {"class": "puppy", "count": 2}]})", "again"},
      {R"({"relations": [{"subject": "dog", "relation": "near", "object": "cat"}]})", "\"near\""},
      {R"({"relations": [{"subject": "dog", "relation": "between", "object": ["cat"]}]})", "two"},
      {R"({"relations": [{"subject": {"class": "dog", "count": 0}, "relation": "on", "object": "cat"}]})",
       "subject.count is 0"},
      {R"({"relations": [{"subject": {"class": "grass", "count": 2}, "relation": "on", "object": "cat"}]})",
       "is background"},
      {R"({"relations": [{"subject": {"class": "dog", "number": 2}, "relation": "on", "object": "cat"}]})",
       "expected class, count, which"},
      {R"({"objects": ["dog"], "absent": ["dogs"]})", "required too"}};
  for (const auto& [json, message] : cases)
    try {
      parse_requirements(scenes(), json);
      FAIL() << json << " was accepted";
    } catch (const RequestError& error) {
      EXPECT_NE(std::string(error.what()).find(message), std::string::npos) << error.what();
    }
}

TEST(FiltersJson, TakesNamesAndCombinations) {
  const auto filters =
      parse_filters(scenes(), R"(["people", {"classes": ["dog", "cat"], "min_area": 0.25}])", 0.01);
  ASSERT_EQ(filters.size(), 2U);
  EXPECT_EQ(filters[0].classes, (std::vector<int>{0}));
  EXPECT_EQ(filters[0].min_area, 0.01);
  EXPECT_EQ(filters[1].classes, (std::vector<int>{1, 2}));
  EXPECT_EQ(filters[1].min_area, 0.25);
  for (const char* wrong : {R"("dog")", R"([{"classes": []}])", R"([{"class": "dog"}])", "[1]"})
    EXPECT_THROW(parse_filters(scenes(), wrong, 0.01), RequestError) << wrong;
}

}  // namespace
}  // namespace fgdm
