#include "fgdm/sha256.hpp"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>
#include <random>
#include <string>

#include <gtest/gtest.h>

#include "fgdm/error.hpp"
#include "temp_folder.hpp"

namespace fgdm {
namespace {

using Implementation = Sha256::Implementation;

std::span<const std::byte> bytes(const std::string& text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

class Sha256Test : public ::testing::TestWithParam<Implementation> {
protected:
  void SetUp() override {
    if (GetParam() == Implementation::accelerated && !Sha256::is_accelerated())
      GTEST_SKIP() << "this processor or build has no SHA instructions";
  }

  static std::string digest(const std::string& text) {
    Sha256 hash(GetParam());
    hash.update(bytes(text));
    return hash.hex();
  }
};

// Protects the digest itself: NIST's examples for SHA-256 and its million-byte vector.
TEST_P(Sha256Test, MatchesNistVectors) {
  const std::map<std::string, std::string> vectors = {
      {"", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
      {"abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
      {"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
       "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"},
      {"abcdefghbcdefghicdefghijdefghijkefghijklfghijklmghijklmn"
       "hijklmnoijklmnopjklmnopqklmnopqrlmnopqrsmnopqrstnopqrstu",
       "cf5b16a778af8380036ce59e7b0492370b249b11e8f07a51afac45037afee9d1"},
      {std::string(1'000'000, 'a'),
       "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0"},
  };
  for (const auto& [text, expected] : vectors)
    EXPECT_EQ(digest(text), expected) << text.size() << " bytes";
}

// Protects streaming: any cut of the input, across block boundaries too, gives one digest, and
// reading the digest in between changes nothing.
TEST_P(Sha256Test, DoesntDependOnHowTheInputIsCut) {
  std::mt19937 random(3);
  std::string text(1000, '\0');
  for (char& byte : text)
    byte = static_cast<char>(random());
  const std::string expected = digest(text);
  for (int round = 0; round < 200; ++round) {
    Sha256 hash(GetParam());
    for (std::size_t begin = 0; begin < text.size();) {
      const std::size_t size = std::min<std::size_t>(random() % 150, text.size() - begin);
      hash.update(bytes(text).subspan(begin, size));
      begin += size;
      if (random() % 4 == 0)
        hash.hex();
    }
    EXPECT_EQ(hash.hex(), expected);
  }
}

std::string implementation_name(const ::testing::TestParamInfo<Implementation>& tested) {
  switch (tested.param) {
  case Implementation::portable:
    return "portable";
  case Implementation::accelerated:
    return "accelerated";
  default:
    return "automatic";
  }
}

INSTANTIATE_TEST_SUITE_P(Implementations, Sha256Test,
                         ::testing::Values(Implementation::automatic, Implementation::portable,
                                           Implementation::accelerated),
                         implementation_name);

// Protects both code paths against each other at every length around a block's padding.
TEST(Sha256ImplementationsTest, Agree) {
  if (!Sha256::is_accelerated())
    GTEST_SKIP() << "this processor or build has no SHA instructions";
  for (std::size_t size = 0; size < 300; ++size) {
    const std::string text(size, static_cast<char>(size));
    Sha256 portable(Implementation::portable);
    Sha256 accelerated(Implementation::accelerated);
    portable.update(bytes(text));
    accelerated.update(bytes(text));
    EXPECT_EQ(portable.hex(), accelerated.hex()) << size;
  }
}

// Protects the check of a bundle's files.
TEST(Sha256FileTest, HashesAFilesContent) {
  const testing::TempFolder folder;
  const auto path = folder / "content";
  std::ofstream(path, std::ios::binary) << std::string(1'000'000, 'a');
  EXPECT_EQ(sha256_file(path), "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
  std::ofstream(path, std::ios::binary | std::ios::trunc).flush();
  EXPECT_EQ(sha256_file(path), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
}

// Protects against an unreadable file passing for an empty one.
TEST(Sha256FileTest, RefusesWhatItCannotRead) {
  EXPECT_THROW(sha256_file("/no/such/file"), BundleError);
  EXPECT_THROW(sha256_file(testing::TempFolder().path()), BundleError) << "a folder";
}

}  // namespace
}  // namespace fgdm
