#include "fgdm/tokenizer.hpp"

#include <algorithm>
#include <ctime>
#include <iostream>
#include <map>
#include <random>

#include <gtest/gtest.h>

#include "fgdm/error.hpp"
#include "temp_folder.hpp"
#include "tokenizer_fixture.hpp"

namespace fgdm {
namespace {

using testing_support::Merges;
using testing_support::write;
using testing_support::write_tokenizer;
using Strings = std::vector<std::string>;

const Merges merges = {{"c", "a"},   {"ca", "t</w>"}, {"d", "o"},     {"do", "g</w>"},
                       {"!", "!"},   {"!!", "!</w>"}, {"'", "s</w>"}, {"a", "a"},
                       {"aa", "aa"}, {"e", "l"},      {"l", "o</w>"}};

class TokenizerTest : public ::testing::Test {
protected:
  TokenizerTest() { write_tokenizer(folder_.path(), merges); }

  Tokenizer load(int max_length = 12) const { return Tokenizer::load(folder_.path(), max_length); }

  std::int64_t id(const std::string& token) const {
    return testing_support::make_vocabulary(merges).at(token).get<std::int64_t>();
  }

  // Expects that the folder is refused with a message that contains `named`.
  void expect_refused(const std::string& named) const {
    try {
      load();
      ADD_FAILURE() << "accepted; expected an error with " << named;
    } catch (const BundleError& error) {
      EXPECT_NE(std::string(error.what()).find(named), std::string::npos) << error.what();
    }
  }

  testing::TempFolder folder_;
};

// Protects the form of what the text encoder gets: beginning, tokens, end, padding.
TEST_F(TokenizerTest, EncodesToMaxLengthIds) {
  const std::int64_t bos = id("<|startoftext|>");
  const std::int64_t eos = id("<|endoftext|>");
  using Ids = std::vector<std::int64_t>;
  EXPECT_EQ(load(7).encode("a cat"), (Ids{bos, id("a</w>"), id("cat</w>"), eos, eos, eos, eos}));
  EXPECT_EQ(load(5).encode("cat cat dog dog"),
            (Ids{bos, id("cat</w>"), id("cat</w>"), id("dog</w>"), eos}));
  EXPECT_EQ(load(4).encode(""), (Ids{bos, eos, eos, eos}));
  EXPECT_EQ(load(2).encode("cat"), (Ids{bos, eos}));
  EXPECT_THROW(load(1), RequestError);
}

// Protects the cutting into words: CLIP's regular expression, case by case.
TEST_F(TokenizerTest, CutsWordsAsClipDoes) {
  const Tokenizer tokenizer = load();
  EXPECT_EQ(tokenizer.tokenize("cat's"), (Strings{"cat</w>", "'s</w>"}));
  EXPECT_EQ(tokenizer.tokenize("''s"), (Strings{"'", "'</w>", "s</w>"}));
  EXPECT_EQ(tokenizer.tokenize("cat-dog"), (Strings{"cat</w>", "-</w>", "dog</w>"}));
  EXPECT_EQ(tokenizer.tokenize("42"), (Strings{"4</w>", "2</w>"}));
  EXPECT_EQ(tokenizer.tokenize("cat!!!"), (Strings{"cat</w>", "!!!</w>"}));
  EXPECT_EQ(tokenizer.tokenize("  \t cat\r\n\n dog \xE3\x80\x80"), (Strings{"cat</w>", "dog</w>"}));
  EXPECT_EQ(tokenizer.tokenize(" "), Strings{});
}

// Protects the normal form: what looks the same must encode the same.
TEST_F(TokenizerTest, NormalizesBeforeEncoding) {
  const Tokenizer tokenizer = load(40);
  const std::vector<std::pair<const char*, const char*>> same = {
      {"CAT Dog", "cat dog"},
      {"caf\u00E9", "cafe\u0301"},                               // composed and decomposed
      {"\u212B", "\u00E5"},                                      // Angstrom sign, lowered
      {"a\u0323\u0307", "a\u0307\u0323"},                        // marks in either order
      {"\uD55C\uAD6D", "\u1112\u1161\u11AB\u1100\u116E\u11A8"},  // Hangul
      {"\u0130", "i\u0307"},              // the only letter that lowers to two
      {"\u03A3\u03A3", "\u03C3\u03C3"},   // no final sigma
      {"cat\u00A0dog\u2003", "cat dog"},  // white space is not only ASCII's
  };
  for (const auto& [left, right] : same)
    EXPECT_EQ(tokenizer.encode(left), tokenizer.encode(right)) << left;
  EXPECT_NE(tokenizer.encode("a\u0301\u0300"), tokenizer.encode("a\u0300\u0301"))
      << "marks of one class keep their order";
  EXPECT_NE(tokenizer.encode("\u00DF"), tokenizer.encode("ss"));
}

// Protects special tokens inside a prompt, which decides what attention sees as the text's end.
TEST_F(TokenizerTest, FindsSpecialTokensInsideTheText) {
  EXPECT_EQ(load().tokenize("cat<|endoftext|>dog"),
            (Strings{"cat</w>", "<|endoftext|>", "dog</w>"}));
  EXPECT_EQ(load().tokenize("<|CAT|>"), (Strings{"<", "|</w>", "cat</w>", "|", "></w>"}));
  EXPECT_EQ(load().tokenize("<|ENDOFTEXT|>!").back(), "!</w>");
  EXPECT_EQ(load().tokenize("<|ENDOFTEXT|>").back(), "></w>")
      << "not a special token: it is found in the text as it is given";
  write(folder_ / "tokenizer_config.json",
        R"({"eos_token": {"content": "<|endoftext|>", "normalized": true}, "pad_token": "!",
            "unk_token": {"content": "<|endoftext|>", "normalized": true}})");
  EXPECT_EQ(load().tokenize("<|EndOfText|>!!"), (Strings{"<|endoftext|>", "!", "!"}));
  EXPECT_EQ(load(4).encode("").back(), id("!")) << "the padding of Stable Diffusion 2";
}

// Protects learned words: each is one token, or several where it was learned as several vectors,
// and what stands beside it is encoded as if it weren't there.
TEST_F(TokenizerTest, FindsWordsThatWereAddedAfterTraining) {
  write(folder_ / "tokenizer_config.json", R"({"added_tokens_decoder": {
            "1000": {"content": "<Toy>", "normalized": true},
            "1001": {"content": "<Toy>_1", "normalized": true},
            "1002": {"content": "<Toy>_2", "normalized": true},
            "1003": {"content": "<Toy>_4", "normalized": true},
            "1004": {"content": "<l>", "lstrip": true, "normalized": false},
            "1005": {"content": "<r>", "rstrip": true, "normalized": false}}})");
  const Tokenizer tokenizer = load(8);
  EXPECT_EQ(tokenizer.tokenize("cat<Toy>dog"),
            (Strings{"cat</w>", "<Toy>", "<Toy>_1", "<Toy>_2", "dog</w>"}));
  EXPECT_EQ(tokenizer.tokenize("<TOY>_2 <toy>_4"), (Strings{"<Toy>_2", "<Toy>_4"}))
      << "the longest of those that start there";
  EXPECT_EQ(tokenizer.tokenize("cat  <l> <r>\t dog"),
            (Strings{"cat</w>", "<l>", "<r>", "dog</w>"}));
  EXPECT_EQ(tokenizer.tokenize("<L>").front(), "<</w>") << "looked for in the text as it is given";
  const auto ids = tokenizer.encode("dog dog dog dog <Toy>");
  EXPECT_EQ((std::vector<std::int64_t>(ids.begin() + 5, ids.end())),
            (std::vector<std::int64_t>{1000, 1001, id("<|endoftext|>")}))
      << "cut where there is no more room";
}

// Protects the merges' order against the algorithm's plain definition: merge the pair of the least
// rank, the leftmost of equals, until there is none.
TEST_F(TokenizerTest, MergesInTheOrderOfRank) {
  std::mt19937 random(8);
  for (int round = 0; round < 20; ++round) {
    Strings tokens = {"a", "b", "c", "a</w>", "b</w>", "c</w>"};
    std::map<std::pair<std::string, std::string>, std::size_t> ranks;
    Merges random_merges;
    while (random_merges.size() < 30) {
      const std::string left = tokens[random() % tokens.size()];
      const std::string right = tokens[random() % tokens.size()];
      if (left.ends_with("</w>") || ranks.contains({left, right}))
        continue;
      if (std::find(tokens.begin(), tokens.end(), left + right) != tokens.end())
        continue;
      ranks[{left, right}] = random_merges.size();
      random_merges.emplace_back(left, right);
      tokens.push_back(left + right);
    }
    write_tokenizer(folder_.path(), random_merges);
    const Tokenizer tokenizer = load();
    for (int word_round = 0; word_round < 50; ++word_round) {
      std::string word;
      Strings expected;
      for (std::size_t i = 0, size = 1 + random() % 40; i < size; ++i) {
        word += static_cast<char>('a' + static_cast<char>(random() % 3));
        expected.emplace_back(1, word.back());
      }
      expected.back() += "</w>";
      for (;;) {
        std::size_t best = expected.size();
        for (std::size_t i = 0; i + 1 < expected.size(); ++i)
          if (const auto rank = ranks.find({expected[i], expected[i + 1]});
              rank != ranks.end() &&
              (best == expected.size() ||
               rank->second < ranks.at({expected[best], expected[best + 1]})))
            best = i;
        if (best == expected.size())
          break;
        expected[best] += expected[best + 1];
        expected.erase(expected.begin() + static_cast<std::ptrdiff_t>(best) + 1);
      }
      ASSERT_EQ(tokenizer.tokenize(word), expected) << word;
    }
  }
}

// Protects small vocabularies: a byte that is not in them is the unknown token.
TEST_F(TokenizerTest, UnknownBytesBecomeTheUnknownToken) {
  auto vocabulary = testing_support::make_vocabulary(merges);
  vocabulary.erase("z");
  vocabulary.erase("z</w>");
  write(folder_ / "vocab.json", vocabulary.dump());
  EXPECT_EQ(load().tokenize("zaz"), (Strings{"<|endoftext|>", "a", "<|endoftext|>"}));
}

// Protects against text that is not UTF-8: it is refused and the place is named.
TEST_F(TokenizerTest, RefusesInvalidUtf8AndNamesTheByte) {
  const Tokenizer tokenizer = load();
  const std::vector<std::pair<std::string, int>> invalid = {
      {"cat\xFF", 3},
      {"\x80", 0},
      {"ca\xC0\xAF", 2},        // overlong
      {"a\xE0\x80\xAF", 1},     // overlong
      {"\xF0\x80\x80\xAF", 0},  // overlong
      {"ab\xED\xA0\x80", 2},    // surrogate
      {"\xF4\x90\x80\x80", 0},  // beyond U+10FFFF
      {"dog\xE2\x82", 3},       // cut short
      {"\xC3(", 0},
      {"\xE2\x82(", 0},
      {"\u00E9\xF5\x80\x80\x80", 2}};
  for (const auto& [text, offset] : invalid) {
    try {
      tokenizer.encode(text);
      ADD_FAILURE() << "accepted invalid text of offset " << offset;
    } catch (const RequestError& error) {
      EXPECT_NE(std::string(error.what()).find("offset " + std::to_string(offset) + " "),
                std::string::npos)
          << error.what();
    }
  }
  for (const char* valid :
       {"\u0080", "\u07FF", "\u0800", "\uD7FF", "\uE000", "\uFFFF", "\U00010000", "\U0010FFFF"})
    EXPECT_NO_THROW(tokenizer.encode(valid));
  EXPECT_EQ(tokenizer.tokenize(std::string("\0", 1)), (Strings{"\u0100</w>"}));
}

// Protects the server's time: the longest text, as one word that merges all over or as many,
// encodes within a second, and a longer one is refused.
TEST_F(TokenizerTest, EncodesTheLongestTextInTime) {
  const Tokenizer tokenizer = load(77);
  std::string words;
  while (words.size() < Tokenizer::max_text_size)
    words += "\u1112\u1161 \u00C9";
  words.resize(Tokenizer::max_text_size - Tokenizer::max_text_size % 9);
  std::string marks = "a";
  while (marks.size() + 4 <= Tokenizer::max_text_size)
    marks += "\u0301\u0323";
  const std::vector<std::pair<const char*, std::string>> texts = {
      {"one letter", std::string(Tokenizer::max_text_size, 'a')},
      {"words", words},
      {"combining marks", marks},
      {"white space", std::string(Tokenizer::max_text_size, ' ')}};
  for (const auto& [name, text] : texts) {
    const std::clock_t start = std::clock();  // processor time: a busy machine changes it less
    EXPECT_EQ(tokenizer.encode(text).size(), 77U);
    const double time = static_cast<double>(std::clock() - start) / double{CLOCKS_PER_SEC};
    std::cout << "1 MiB of " << name << ": " << time << " s\n";
#if defined(NDEBUG) && !defined(__SANITIZE_ADDRESS__) && !defined(FGDM_EMULATED)
    EXPECT_LT(time, 1.0) << name;
#endif
  }
  EXPECT_THROW(tokenizer.encode(std::string(Tokenizer::max_text_size + 1, 'a')), RequestError);
}

// Protects users from a damaged or foreign tokenizer folder: it is refused, never guessed at.
TEST_F(TokenizerTest, RefusesDamagedFiles) {
  const auto vocabulary = testing_support::make_vocabulary(merges);
  const auto expect_vocabulary_refused = [&](const std::string& content, const std::string& named) {
    write(folder_ / "vocab.json", content);
    expect_refused(named);
    write(folder_ / "vocab.json", vocabulary.dump());
  };
  const auto changed = [&](const std::string& token, const nlohmann::json& value) {
    auto copy = vocabulary;
    copy[token] = value;
    return copy.dump();
  };
  const auto without = [&](const std::string& token) {
    auto copy = vocabulary;
    copy.erase(token);
    return copy.dump();
  };
  expect_vocabulary_refused(vocabulary.dump().substr(0, 100), "not valid JSON");
  expect_vocabulary_refused("[]", "not a JSON object");
  expect_vocabulary_refused(changed("a", "1"), "not an integer");
  expect_vocabulary_refused(changed("a", -1), "not an integer");
  expect_vocabulary_refused(changed("a", 1LL << 40), "not an integer");
  expect_vocabulary_refused(changed("a", vocabulary.at("b")), "another token has");
  expect_vocabulary_refused(without("cat</w>"), "lacks \"cat</w>\"");
  expect_vocabulary_refused(without("<|endoftext|>"), "<|endoftext|>");

  const auto expect_file_refused = [&](const char* name, const std::string& content,
                                       const std::string& named) {
    const auto file = folder_ / name;
    write_tokenizer(folder_.path(), merges);
    write(file, content);
    expect_refused(named);
    std::filesystem::remove(file);
  };
  expect_file_refused("merges.txt", "#version: 0.2\nc a\nca\n", "line 3");
  expect_file_refused("merges.txt", "c a t\n", "line 1");
  expect_file_refused("merges.txt", "c a\n\n", "line 2");
  expect_file_refused("merges.txt", "q q\n", "lacks \"qq\"");
  write_tokenizer(folder_.path(), merges);
  expect_file_refused("tokenizer_config.json", "{", "tokenizer_config.json");
  expect_file_refused("tokenizer_config.json", R"({"pad_token": 5})", "special token");
  expect_file_refused("tokenizer_config.json", R"({"pad_token": "<pad>"})", "<pad>");
  expect_file_refused("tokenizer_config.json",
                      R"({"pad_token": {"content": "!", "single_word": true}})", "single_word");
  const auto added = [](const std::string& id) {
    return R"({"added_tokens_decoder": {")" + id + R"(": {"content": "<cat-toy>"}}})";
  };
  for (const char* id : {"-1", "1.5", "x", "", "16777216", "99999999999999999999"})
    expect_file_refused("tokenizer_config.json", added(id), "not an id");
  expect_file_refused("tokenizer_config.json", added("0"), "which another token has");
  expect_file_refused("tokenizer_config.json", R"({"padding_side": "left"})", "padding_side");
  expect_file_refused("tokenizer_config.json", R"({"added_tokens_decoder": []})", "added_tokens");
  expect_file_refused("tokenizer_config.json", R"({"additional_special_tokens": ["x"]})",
                      "additional_special_tokens");
  expect_file_refused("special_tokens_map.json", "5", "special_tokens_map.json");
  expect_file_refused("added_tokens.json", "{}", "added_tokens.json");
  std::filesystem::remove(folder_ / "merges.txt");
  expect_refused("merges.txt cannot be read");
  std::filesystem::remove(folder_ / "vocab.json");
  expect_refused("vocab.json cannot be read");
}

}  // namespace
}  // namespace fgdm
