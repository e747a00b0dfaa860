// Protects words that stand for several classes, for the absence of one, or for what no map shows:
// none of them is dropped, and denials turn only what a map can show.
#include <gtest/gtest.h>

#include "fgdm/compliance.hpp"
#include "fgdm/error.hpp"
#include "fgdm/objects.hpp"
#include "fgdm/requirements.hpp"

namespace {

using fgdm::find_objects;
using fgdm::find_requirements;
using fgdm::Palette;
using Indices = std::vector<int>;
using Words = std::vector<std::string>;

enum : int { face, hair, left_eye, right_eye, hat };

const std::string classes = R"("classes": [
    {"index": 0, "name": "face", "color": [0, 0, 0], "kind": "background", "forms": ["face", "man"]},
    {"index": 1, "name": "hair", "color": [1, 0, 0], "kind": "background", "forms": ["hair"]},
    {"index": 2, "name": "left_eye", "color": [2, 0, 0], "kind": "thing",
     "forms": ["left eye", "eye"]},
    {"index": 3, "name": "right_eye", "color": [3, 0, 0], "kind": "thing", "forms": ["right eye"]},
    {"index": 4, "name": "hat", "color": [4, 0, 0], "kind": "thing", "forms": ["hat", "hats"]}])";

Palette faces() {
  return Palette::parse("{\"name\": \"faces\", " + classes + R"(, "attributes": [
    {"name": "eyes", "words": ["eyes"], "present": ["left_eye", "right_eye"], "shown": true},
    {"name": "bald", "words": ["bald", "shaved head"], "absent": ["hair"], "shown": true},
    {"name": "blond", "words": ["blond", "blonde"], "present": ["hair"], "shown": false},
    {"name": "male", "words": ["man"], "shown": false},
    {"name": "beard", "words": ["beard", "facial hair"], "shown": false},
    {"name": "young", "words": ["young"], "shown": false}]})");
}

// All that is required, and what isn't understood.
Words read(const char* prompt) {
  const auto found = find_requirements(faces(), prompt);
  Words words;
  for (const auto& [kind, text] : describe(faces(), found.requirements))
    words.push_back((kind == "attribute" ? "~" : "") + text);
  for (const auto& text : found.unread)
    words.push_back("?" + text);
  return words;
}

TEST(Attributes, AskForTheirClassesOrForTheirAbsence) {
  EXPECT_EQ(read("eyes and a hat"), (Words{"left_eye", "right_eye", "hat"}));
  EXPECT_EQ(read("a bald face"), (Words{"face", "no hair"}));
  EXPECT_EQ(read("a face with a shaved head"), (Words{"face", "no hair"}));
  EXPECT_EQ(read("a blond face"), (Words{"hair", "face", "~blond"}));
}

TEST(Attributes, ThatNoMapShowsAreToldThoughOtherPalettesKnowTheWordAsGrammar) {
  EXPECT_EQ(read("a young face"), (Words{"face", "~young"}));
  EXPECT_TRUE(find_objects(faces(), "a young face").unrecognized.empty());
}

TEST(Attributes, AreToldOnce) {
  EXPECT_EQ(read("a young face and a young hat"), (Words{"face", "hat", "~young"}));
}

TEST(Attributes, DeniedAskForTheOppositeOnlyWhereAMapShowsThem) {
  EXPECT_EQ(read("a face that is not bald"), (Words{"face", "hair"}));
  EXPECT_EQ(read("a face without eyes"), (Words{"face", "no left_eye", "no right_eye"}));
  EXPECT_EQ(read("a face that is not blond"), (Words{"face", "~no blond"}));
  EXPECT_EQ(read("a hat, no beard"), (Words{"hat", "~no beard"}));
}

TEST(Attributes, APhraseMayBeAClassToo) {
  EXPECT_EQ(read("a man"), (Words{"face", "~male"}));
}

TEST(Attributes, TheLongestPhraseWins) {
  EXPECT_EQ(read("a face with facial hair"), (Words{"face", "~beard"}));
}

TEST(Attributes, WhatIsSaidOfThemAndCannotBeKeptIsToldToo) {
  EXPECT_EQ(read("a face with blue eyes"), (Words{"face", "left_eye", "right_eye", "?blue eyes"}));
  EXPECT_EQ(read("black blond hair"), (Words{"hair", "black hair", "~blond"}));
  EXPECT_EQ(read("two young hats"), (Words{"hat", "2 hat", "~young"}));
}

TEST(Attributes, NoMapIsBlamedForThem) {
  const auto required = find_requirements(faces(), "a young bald man").requirements;
  const std::vector<std::uint8_t> with_hair{face, hair}, without{face, face};
  const auto good = check_map(faces(), without, 1, 2, required);
  EXPECT_EQ(good.compliance, 1.0);
  EXPECT_EQ(good.met.back(), fgdm::Met::unchecked);
  EXPECT_EQ(check_map(faces(), with_hair, 1, 2, required).compliance, 0.5);
}

TEST(Attributes, JsonSaysAgainWhatWasRead) {
  for (const char* prompt : {"a young bald man", "not blond, no beard, eyes", "a blond face"}) {
    const auto found = find_requirements(faces(), prompt).requirements;
    const auto json = requirements_json(faces(), found);
    EXPECT_EQ(requirements_json(faces(), parse_requirements(faces(), json)), json) << prompt;
  }
}

TEST(Attributes, RequestsGiveThemByNameOrWord) {
  const auto required = parse_requirements(
      faces(), R"({"attributes": ["shaved head", "no facial hair", "no eyes", "young"]})");
  Words words;
  for (const auto& text : describe(faces(), required))
    words.push_back(text.text);
  EXPECT_EQ(words, (Words{"no hair", "no left_eye", "no right_eye", "no beard", "young"}));
}

TEST(Attributes, RequestsThatContradictOrDontKnowThemAreRefused) {
  const std::pair<const char*, const char*> cases[] = {
      {R"({"attributes": ["rich"]})", "\"rich\", which is no attribute of palette \"faces\""},
      {R"({"objects": ["hair"], "attributes": ["bald"]})", "\"bald\", which is required too"},
      {R"({"absent": ["hair"], "attributes": ["blond"]})", "asks for hair; that shall be absent"},
      {R"({"objects": ["eyes"]})", "stands for 2 classes"}};
  for (const auto& [json, message] : cases)
    try {
      parse_requirements(faces(), json);
      FAIL() << json << " was accepted";
    } catch (const fgdm::RequestError& error) {
      EXPECT_NE(std::string(error.what()).find(message), std::string::npos) << error.what();
    }
}

TEST(Attributes, ThatStandForSeveralClassesNameThemAsObjects) {
  EXPECT_EQ(fgdm::resolve_objects(faces(), {"hat", "eyes"}), (Indices{hat, left_eye, right_eye}));
  EXPECT_THROW(fgdm::resolve_objects(faces(), {"bald"}), fgdm::RequestError);
  EXPECT_THROW(fgdm::resolve_objects(faces(), {"blond"}), fgdm::RequestError);
}

TEST(Attributes, MalformedOnesAreRefusedWithTheirPlace) {
  const std::pair<const char*, const char*> cases[] = {
      {R"({})", "\"attributes\" is an object, expected a list"},
      {R"([1])", "attribute 0 is not a JSON object"},
      {R"([{"name": "a"}])", "attribute 0 has no \"shown\""},
      {R"([{"name": "a", "shown": 1}])", "\"shown\" is 1, expected true or false"},
      {R"([{"name": "a", "shown": true, "present": ["nose"]}])", "\"present\" names \"nose\""},
      {R"([{"name": "a", "shown": false}, {"name": "a", "shown": false}])", "repeats the name"}};
  for (const auto& [attributes, message] : cases)
    try {
      Palette::parse("{\"name\": \"p\", " + classes + ", \"attributes\": " + attributes + "}");
      FAIL() << attributes << " was accepted";
    } catch (const fgdm::BundleError& error) {
      EXPECT_NE(std::string(error.what()).find(message), std::string::npos) << error.what();
    }
}

}  // namespace
