// What the text encoder doesn't read must be told, and must not be counted as if it had been.
#include "texts.hpp"

#include <gtest/gtest.h>

#include <algorithm>

#include "fake_sessions.hpp"
#include "request.hpp"

namespace {

using fgdm::bytes_read;

const fgdm::Tokenizer& tokenizer() {
  return fgdm::testing::scenes().tokenizer();
}

fgdm::RequestTexts texts_of(const std::string& prompt, const std::string& negative = "") {
  fgdm::Request request;
  request.prompt = prompt;
  request.negative_prompt = negative;
  const auto& bundle = fgdm::testing::scenes();
  return read_texts(resolve(request, bundle.manifest()), bundle);
}

std::string repeated(const std::string& text, int times) {
  std::string all;
  for (int i = 0; i < times; ++i)
    all += text;
  return all;
}

std::size_t tokens(const std::string& text) {
  return tokenizer().tokenize(text).size();
}

TEST(Texts, AShortPromptIsReadWhole) {
  const auto texts = texts_of("a dog beside a house");
  EXPECT_EQ(texts.truncated, "");
  EXPECT_EQ(texts.negative_truncated, "");
  EXPECT_TRUE(texts.factors.front().unread.empty());
  EXPECT_EQ(texts.factors.front().requested.size(), 2U);
}

// Protects the place of the cut: one word more wouldn't fit.
TEST(Texts, AsManyWordsAreReadAsFit) {
  const auto most = static_cast<std::size_t>(tokenizer().max_length()) - 2;
  for (const std::string word : {" a", " umbrella", " dog,", " \xE7\x8A\xAC"}) {
    const std::string text = "a house" + repeated(word, 500);
    const auto read = bytes_read(tokenizer(), "a map of ", text);
    ASSERT_LT(read, text.size());
    EXPECT_LE(tokens("a map of " + text.substr(0, read)), most) << word;
    EXPECT_GT(tokens("a map of " + text.substr(0, read) + word), most) << word;
  }
}

TEST(Texts, WhatIsNamedOnlyBeyondTheCutIsNotRequested) {
  const auto texts = texts_of("a house" + repeated(" and a very big field", 40) + " and a dog",
                              repeated("no dog ", 80));
  const auto& maps = texts.factors.front();
  EXPECT_EQ(maps.unread.size(), 1U);
  EXPECT_EQ(std::ranges::count(maps.requested, maps.unread.front()), 0);
  EXPECT_TRUE(texts.truncated.ends_with(" and a dog"));
  EXPECT_FALSE(texts.negative_truncated.empty());
}

TEST(Texts, AWordLongerThanTheTextEncoderIsNotRead) {
  EXPECT_EQ(bytes_read(tokenizer(), "", std::string(30'000, 'q')), 0U);
}

TEST(Texts, WhatIsAskedForByNameCountsWhereverItStands) {
  fgdm::Request request;
  request.prompt = "a house without trees" + repeated(" and a very big field", 40) + " and a dog";
  request.objects = {{"dog"}};
  const auto& bundle = fgdm::testing::scenes();
  const auto maps = read_texts(resolve(request, bundle.manifest()), bundle).factors.front();
  EXPECT_EQ(maps.requested.size(), 1U);
  EXPECT_TRUE(maps.unread.empty());
  EXPECT_TRUE(maps.excluded.empty());
}

}  // namespace
