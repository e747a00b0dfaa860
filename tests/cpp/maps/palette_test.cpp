#include "fgdm/palette.hpp"

#include <algorithm>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "fgdm/error.hpp"
#include "palette_fixture.hpp"

namespace fgdm {
namespace {

using testing_support::class_json;
using testing_support::Color;
using testing_support::make_palette;

// Protects recolouring for a ControlNet trained on another palette.
TEST(MatchTest, MatchesClassesByName) {
  const auto palette = [](std::vector<std::string> names) {
    nlohmann::json json = {{"name", "test"}, {"classes", nlohmann::json::array()}};
    for (std::size_t i = 0; i < names.size(); ++i)
      json["classes"].push_back(class_json(i, names[i], {static_cast<std::uint8_t>(i), 0, 0}));
    return Palette::parse(json.dump());
  };
  EXPECT_EQ(match_classes(palette({"dog", "sky", "boat"}), palette({"boat", "dog"})),
            (std::vector<int>{1, unlabeled, 0}));
  EXPECT_EQ(match_classes(palette({"dog", "sky"}), palette({"animal", "sky"}), {{"dog", "animal"}}),
            (std::vector<int>{0, unlabeled}));
  EXPECT_THROW(match_classes(palette({"dog"}), palette({"cat"}), {{"dog", "cow"}}), BundleError);
  EXPECT_EQ(palette({"dog", "sky"}).find("sky"), 1);
  EXPECT_EQ(palette({"dog", "sky"}).find("Sky"), std::nullopt);
}

TEST(PaletteTest, ParsesEveryField) {
  const Palette palette = Palette::parse(R"({"name": "scenes", "classes": [
      {"index": 0, "name": "person", "color": [255, 0, 7], "kind": "thing",
       "synonyms": ["man", "woman"], "forms": ["people"]},
      {"index": 1, "name": "sky", "color": [0, 0, 0], "kind": "background"}]})");
  EXPECT_EQ(palette.name(), "scenes");
  EXPECT_EQ(palette.tolerance(), default_tolerance);
  ASSERT_EQ(palette.classes().size(), 2U);
  EXPECT_EQ(palette.classes()[0].name, "person");
  EXPECT_EQ(palette.classes()[0].color, (Color{255, 0, 7}));
  EXPECT_TRUE(palette.classes()[0].thing);
  EXPECT_EQ(palette.classes()[0].synonyms, (std::vector<std::string>{"man", "woman"}));
  EXPECT_EQ(palette.classes()[0].forms, (std::vector<std::string>{"people"}));
  EXPECT_FALSE(palette.classes()[1].thing);
  EXPECT_TRUE(palette.classes()[1].synonyms.empty() && palette.classes()[1].forms.empty());
}

// Protects maps whose palette says how far its colours may stray.
TEST(PaletteTest, DecodesWithItsOwnTolerance) {
  const nlohmann::json json = {
      {"name", "p"}, {"tolerance", 40}, {"classes", {class_json(0, "a", {100, 100, 100})}}};
  const Palette palette = Palette::parse(json.dump());
  const std::vector<std::uint8_t> rgb = {140, 60, 100, 141, 100, 100};
  std::vector<std::uint8_t> labels(2);
  decode_labels(palette, rgb, labels);
  EXPECT_EQ(labels, (std::vector<std::uint8_t>{0, unlabeled}));
  decode_labels(palette, rgb, labels, 41);
  EXPECT_EQ(labels, (std::vector<std::uint8_t>{0, 0}));
}

// Protects users from a damaged palette: it is refused, and the message names the fault.
TEST(PaletteTest, RefusesDamagedFiles) {
  const auto expect_error = [](const std::string& json, const std::string& named) {
    try {
      Palette::parse(json);
      ADD_FAILURE() << "accepted: " << json.substr(0, 200);
    } catch (const BundleError& error) {
      EXPECT_NE(std::string(error.what()).find(named), std::string::npos) << error.what();
      EXPECT_LT(std::string(error.what()).size(), 300U);
    }
  };
  const nlohmann::json good = {
      {"name", "p"}, {"classes", {class_json(0, "a", {1, 2, 3}), class_json(1, "b", {4, 5, 6})}}};
  const auto expect_broken = [&](auto change, const std::string& named) {
    nlohmann::json json = good;
    change(json);
    expect_error(json.dump(), named);
  };
  EXPECT_EQ(Palette::parse(good.dump()).classes().size(), 2U);
  expect_error("", "not valid JSON");
  expect_error(good.dump().substr(0, 50), "not valid JSON");
  expect_error("[1]", "not a JSON object");
  expect_error("{}", "classes");
  expect_broken([](auto& json) { json["tolerance"] = 256; }, "\"tolerance\" is 256");
  using Json = nlohmann::json;
  expect_broken([](Json& j) { j.erase("name"); }, "\"name\"");
  expect_broken([](Json& j) { j["classes"] = Json::array(); }, "1 to 255");
  expect_broken([](Json& j) { j["classes"][1] = 3; }, "class 1");
  expect_broken([](Json& j) { j["classes"][1].erase("color"); }, "class 1 has no \"color\"");
  expect_broken([](Json& j) { j["classes"][1]["color"] = {1, 2}; }, "class 1 \"color\"");
  expect_broken([](Json& j) { j["classes"][1]["color"] = {1, 2, 256}; }, "class 1 \"color\"");
  expect_broken([](Json& j) { j["classes"][1]["color"] = {1, 2, 0.5}; }, "class 1 \"color\"");
  expect_broken([](Json& j) { j["classes"][1]["color"] = {1, 2, 3}; }, "color of class 0");
  expect_broken([](Json& j) { j["classes"][1]["name"] = "a"; }, "repeats the name \"a\"");
  expect_broken([](Json& j) { j["classes"][1]["name"] = 5; }, "class 1 \"name\" is 5");
  expect_broken([](Json& j) { j["classes"][1]["index"] = 2; }, "class 1 \"index\" is 2");
  expect_broken([](Json& j) { j["classes"][1]["kind"] = "stuff"; }, "\"stuff\"");
  expect_broken([](Json& j) { j["classes"][1]["synonyms"] = {1}; }, "class 1 \"synonyms\"");
  expect_broken([](Json& j) { j["classes"][1]["forms"] = "b"; }, "class 1 \"forms\"");
  std::vector<Color> many(256);
  std::generate(many.begin(), many.end(),
                [i = 0]() mutable { return Color{static_cast<std::uint8_t>(i++), 0, 0}; });
  EXPECT_THROW(make_palette(many), BundleError) << "label 255 is taken";
  const std::string deep(100'000, '[');
  expect_error(R"({"name": "p", "classes": [{"index": )" + deep + std::string(100'000, ']') + "}]}",
               "nested deeper than 64");
}

}  // namespace
}  // namespace fgdm
