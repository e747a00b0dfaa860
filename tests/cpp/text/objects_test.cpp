// What a prompt asks for decides what recall means: plurals, synonyms and multi-word classes must
// count, and words the palette lacks must be reported.
#include "fgdm/objects.hpp"

#include <gtest/gtest.h>

#include <chrono>

#include "fgdm/error.hpp"

namespace {

using fgdm::find_objects;
using fgdm::Palette;
using Words = std::vector<std::string>;

Palette palette() {
  return Palette::parse(R"({"name": "test", "classes": [
    {"index": 0, "name": "dog", "color": [255, 0, 0], "kind": "thing",
     "forms": ["dog", "dogs", "puppy", "puppies"]},
    {"index": 1, "name": "bench", "color": [0, 255, 0], "kind": "thing",
     "forms": ["bench", "benches", "park bench"]},
    {"index": 2, "name": "fire hydrant", "color": [0, 0, 255], "kind": "thing",
     "forms": ["fire hydrant", "fire hydrants"]},
    {"index": 3, "name": "fire", "color": [0, 255, 255], "kind": "thing", "forms": ["fire"]}]})");
}

TEST(Objects, PluralsAndSynonymsNameTheirClass) {
  EXPECT_EQ(find_objects(palette(), "Two DOGS and a puppy on benches").requested,
            (std::vector<int>{0, 1}));
}

TEST(Objects, TheLongestFormWins) {
  EXPECT_EQ(find_objects(palette(), "a fire hydrant").requested, (std::vector<int>{2}));
  EXPECT_EQ(find_objects(palette(), "a fire, hydrant").requested, (std::vector<int>{2}));
  EXPECT_EQ(find_objects(palette(), "a fire by a park bench").requested, (std::vector<int>{3, 1}));
}

TEST(Objects, WordsInsideWordsDoNotCount) {
  const auto objects = find_objects(palette(), "a hotdog and firewood");
  EXPECT_TRUE(objects.requested.empty());
  EXPECT_EQ(objects.unrecognized, (Words{"hotdog", "firewood"}));
}

TEST(Objects, WhatThePaletteLacksIsReportedOnce) {
  const auto objects = find_objects(palette(), "a red unicorn beside a dog and another unicorn");
  EXPECT_EQ(objects.requested, (std::vector<int>{0}));
  EXPECT_EQ(objects.unrecognized, (Words{"unicorn", "another"}));
}

// Protects the caller from a prompt's size: time in proportion to it, and a bounded answer.
// (Quadratic, these words took minutes.)
TEST(Objects, ManyWordsTakeLittleTimeAndLittleRoom) {
  std::string prompt(100'000, 'z');
  for (int i = 0; i < 200'000; ++i)
    prompt += " q" + std::to_string(i) + ",";
  const auto begin = std::chrono::steady_clock::now();
  const auto objects = find_objects(palette(), "no dogs, " + prompt);
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(10));
  EXPECT_EQ(objects.unrecognized.size(), fgdm::most_unrecognized);
  EXPECT_EQ(objects.unrecognized_omitted, 200'001 - fgdm::most_unrecognized);
  EXPECT_LE(objects.unrecognized.front().size(), 63U);
}

TEST(Objects, ARefusalOfManyNamesIsShortAndCountsThem) {
  std::vector<std::string> names;
  for (int i = 0; i < 5000; ++i)
    names.push_back(std::string(1000, 'x') + std::to_string(i));
  try {
    fgdm::resolve_objects(palette(), names);
    FAIL() << "unknown classes were accepted";
  } catch (const fgdm::RequestError& error) {
    const std::string message = error.what();
    EXPECT_LT(message.size(), 1200U);
    EXPECT_NE(message.find("and 4990 more"), std::string::npos) << message;
  }
}

TEST(Objects, AnUnknownNameIsRefusedWithTheKnownOnes) {
  EXPECT_EQ(fgdm::resolve_objects(palette(), {"puppies", "Fire Hydrant", "dog"}),
            (std::vector<int>{0, 2}));
  try {
    fgdm::resolve_objects(palette(), {"dog", "unicorn"});
    FAIL() << "an unknown class was accepted";
  } catch (const fgdm::RequestError& error) {
    const std::string message = error.what();
    EXPECT_NE(message.find("\"unicorn\""), std::string::npos);
    EXPECT_NE(message.find("fire hydrant"), std::string::npos);
  }
}

}  // namespace
