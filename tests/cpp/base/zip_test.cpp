// Archives from outside: what is read of them, and that whatever their bytes are, nothing but an
// archive's own bytes is ever looked at.
#include "zip.hpp"

#include <gtest/gtest.h>

#include "fgdm/error.hpp"
#include "refusal.hpp"
#include "zip_file.hpp"

namespace fgdm::zip_test {
namespace {

using testing::ZipFile;
using testing::ZipPart;

std::map<std::string, ZipMember, std::less<>> read(const std::string& bytes) {
  return read_zip(std::as_bytes(std::span(bytes)));
}

std::string refusal(const std::string& bytes) {
  return testing::refusal<BundleError>([&] { read(bytes); });
}

std::string refused(const std::vector<ZipPart>& parts) {
  return refusal(ZipFile(parts).bytes());
}

TEST(Zip, MembersAreWhereTheirBytesAre) {
  for (const bool large : {false, true}) {
    const auto archive =
        ZipFile({{"manifest.json", "{}"}, {"a/b/weights", std::string(1000, 'w')}, {"empty", ""}},
                large)
            .bytes();
    const auto members = read(archive);
    ASSERT_EQ(members.size(), 3U);
    const auto content = [&](const char* name) {
      const auto& member = members.find(name)->second;
      EXPECT_EQ(member.offset % member_alignment, 0U);
      return archive.substr(member.offset, member.size);
    };
    EXPECT_EQ(content("manifest.json"), "{}");
    EXPECT_EQ(content("a/b/weights"), std::string(1000, 'w'));
    EXPECT_EQ(content("empty"), "");
  }
}

TEST(Zip, WhatStandsForAFolderIsPassedOver) {
  EXPECT_EQ(read(ZipFile({{"a/", ""}, {"a/b", "x"}}).bytes()).size(), 1U);
  EXPECT_TRUE(read(ZipFile(std::vector<ZipPart>{}).bytes()).empty());
}

TEST(Zip, MembersThatCannotBeUsedWhereTheyLieAreRefusedByName) {
  EXPECT_NE(refused({{"a", "x", 0, 8}}).find("\"a\" is compressed (method 8)"), std::string::npos);
  EXPECT_NE(refused({{"a", "x", 1}}).find("\"a\" is encrypted"), std::string::npos);
  EXPECT_NE(refused({{"a", "x", 0, 0, "", 1}}).find("multiple of 64"), std::string::npos);
  EXPECT_NE(refused({{"a", "x"}, {"b", "y"}, {"a", "z"}}).find("two members called \"a\""),
            std::string::npos);
  EXPECT_NE(refused({{"a", "x", 0, 0, "b"}}).find("isn't where the directory says"),
            std::string::npos);
  EXPECT_NE(refused({{"a", "x", 0, 0, "", 64, 9000}}).find("cut short"), std::string::npos);
}

TEST(Zip, NamesThatLeaveTheBundleAreRefused) {
  for (const char* name : {"../a", "/a", "a/../b", "a//b", "./a", "..", "a\\b", "", "a\nb", "../"})
    EXPECT_NE(refused({{name, ""}}).find("doesn't stay inside"), std::string::npos) << name;
  EXPECT_NE(refused({{"\xff/..", ""}}).find("\\xff/.."), std::string::npos) << "it is printable";
}

TEST(Zip, WhatIsCutShortAnywhereIsRefused) {
  for (const bool large : {false, true}) {
    const auto archive = ZipFile({{"a", "content"}, {"b/c", "more"}}, large).bytes();
    for (std::size_t size = 0; size < archive.size(); ++size)
      EXPECT_NE(refusal(archive.substr(0, size)), "") << size;
    for (std::size_t begin = 1; begin < archive.size(); ++begin)
      EXPECT_NE(refusal(archive.substr(begin)), "") << begin;
    EXPECT_NE(refusal(archive + "x"), "");
    EXPECT_NE(refusal("x" + archive), "");
  }
}

// Each byte of headers and directory becomes others: what is still taken lies inside.
TEST(Zip, WhateverAByteBecomesMembersStayInside) {
  for (const bool large : {false, true}) {
    const auto archive = ZipFile({{"a", "content"}, {"b/c", "more"}}, large).bytes();
    int taken = 0;
    for (std::size_t at = 0; at < archive.size(); ++at)
      for (const int byte : {0x00, 0x01, 0x3F, 0x40, 0x7F, 0x80, 0xFF}) {
        auto spoilt = archive;
        spoilt[at] = static_cast<char>(byte);
        try {
          for (const auto& [name, member] : read(spoilt))
            ASSERT_TRUE(member.offset <= spoilt.size() &&
                        member.size <= spoilt.size() - member.offset)
                << at;
          ++taken;
        } catch (const BundleError&) {
        }
      }
    EXPECT_GT(taken, 0) << "contents and times may be others";
  }
}

// Two entries of one place would let one file stand for another.
TEST(Zip, MembersThatOverlapAreRefused) {
  EXPECT_NE(refused({{"a", std::string(200, 'x'), 0, 0, "", 64, 272}, {"b", std::string(300, 'y')}})
                .find("overlap"),
            std::string::npos);
}

}  // namespace
}  // namespace fgdm::zip_test
