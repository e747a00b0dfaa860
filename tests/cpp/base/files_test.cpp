// Files from outside: what is read, and what is refused before anything can hang or overflow.
#include "files.hpp"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <fstream>

#include "fgdm/bundle.hpp"
#include "fgdm/error.hpp"
#include "temp_folder.hpp"

namespace fgdm {
namespace {

namespace fs = std::filesystem;

class Files : public ::testing::Test {
protected:
  fs::path write(const std::string& name, const std::string& text) const {
    std::ofstream(folder_ / name, std::ios::binary) << text;
    return folder_ / name;
  }

  testing::TempFolder folder_;
};

TEST_F(Files, AreReadWhole) {
  const std::string text("a\0b\nc", 5);
  EXPECT_EQ(read_file(write("text", text)), text);
  EXPECT_EQ(read_file(write("empty", "")), "");
}

// A pipe without a writer would be waited for, a device read for ever.
TEST_F(Files, WhatIsNoRegularFileIsRefusedAtOnce) {
  ASSERT_EQ(::mkfifo((folder_ / "pipe").c_str(), 0600), 0);
  fs::create_symlink("loop", folder_ / "loop");
  fs::create_symlink("/dev/zero", folder_ / "device");
  for (const char* name : {"pipe", "loop", "device", ".", "absent"})
    EXPECT_THROW(read_file(folder_ / name), BundleError) << name;
}

TEST_F(Files, WhatIsTooLargeIsRefusedUnread) {
  const auto file = write("sparse", "x");
  fs::resize_file(file, std::uintmax_t{1} << 40U);
  EXPECT_THROW(read_file(file), BundleError);
  EXPECT_THROW(read_file(write("six", "123456"), 5), BundleError);
}

std::string refusal(const std::string& text) {
  try {
    parse_json(text);
  } catch (const BundleError& error) {
    return error.what();
  }
  return "";
}

TEST(Json, IsTakenUpToADepthThatNothingNeeds) {
  const auto nested = [](int depth) {
    return std::string(static_cast<std::size_t>(depth), '[') +
           std::string(static_cast<std::size_t>(depth), ']');
  };
  EXPECT_EQ(refusal(nested(64)), "");
  for (const auto& text : {nested(65), nested(1'000'000), "{\"a\": " + nested(100'000) + "}"})
    EXPECT_EQ(refusal(text), "its brackets are nested deeper than 64");
  EXPECT_EQ(parse_json(R"(["[[[\"[[["])")[0], "[[[\"[[[");
}

TEST(Json, WhatReadersWouldDisagreeOnIsRefusedInWords) {
  const std::vector<std::pair<std::string, std::string>> cases{
      {"\xEF\xBB\xBF{}", "byte order mark"},
      {std::string("{}\0\0", 4), "zero byte at 2"},
      {R"({"a": {"b": 1}, "a": 2})", "the key \"a\" twice"},
      {"{", "not valid JSON"},
      {"{} {}", "not valid JSON"},
      {"{\"a\": \"\xFF\"}", "not UTF-8 at byte 8"},
      {R"({"a": "\ud800"})", "not valid JSON"},
      {R"({"a": 1e999})", "too large"}};
  for (const auto& [text, words] : cases)
    EXPECT_NE(refusal(text).find(words), std::string::npos) << text << ": " << refusal(text);
  EXPECT_EQ(refusal(R"([{"a": 1}, {"a": 1}, {"b": {"a": 1}}])"), "");
}

TEST_F(Files, ABundleThatIsNoneIsABundleError) {
  ASSERT_EQ(::mkfifo((folder_ / "manifest.json").c_str(), 0600), 0);
  EXPECT_THROW(Bundle::open(folder_.path()), BundleError);
  fs::remove(folder_ / "manifest.json");
  fs::create_symlink("manifest.json", folder_ / "manifest.json");
  EXPECT_THROW(Bundle::open(folder_.path()), BundleError);
  fs::remove(folder_ / "manifest.json");
  fs::create_directory(folder_ / "manifest.json");
  EXPECT_THROW(Bundle::open(folder_.path()), BundleError);
  EXPECT_THROW(Bundle::open(folder_ / "absent"), BundleError);
  EXPECT_THROW(Bundle::open("/dev/null"), BundleError);
}

}  // namespace
}  // namespace fgdm
