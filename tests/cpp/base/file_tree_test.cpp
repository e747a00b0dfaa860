// Files in a folder, in an archive on the disk and in one in memory: the same answers.
#include "file_tree.hpp"

#include <gtest/gtest.h>

#include <cstring>
#include <fstream>
#include <vector>

#include "fgdm/error.hpp"
#include "fgdm/sha256.hpp"
#include "refusal.hpp"
#include "temp_folder.hpp"
#include "zip_file.hpp"

namespace fgdm::file_tree_test {
namespace {

namespace fs = std::filesystem;
using testing::refusal;

std::string text(const Bytes& bytes) {
  return {reinterpret_cast<const char*>(bytes.data.data()), bytes.data.size()};
}

class FileTreeTest : public ::testing::Test {
protected:
  FileTreeTest() {
    fs::create_directories(folder_ / "bundle/plans/tensorrt/deep");
    write("bundle/palette.json", "{\"palette\": 1}");
    write("bundle/plans/tensorrt/b.json", "b");
    write("bundle/plans/tensorrt/a.json", "a");
    write("bundle/plans/tensorrt/deep/c.json", "c");
    write("bundle/large", std::string(3U << 19U, 'l'));
    archive_ = testing::archive_of(folder_ / "bundle");
    write("bundle.fgdm", archive_);
  }

  void write(const std::string& name, const std::string& content) const {
    std::ofstream(folder_ / name, std::ios::binary) << content;
  }

  // A copy of the archive at a multiple of 64, and `shift` bytes further.
  Bytes in_memory(std::size_t shift = 0) {
    auto block = std::make_shared<std::vector<std::byte>>(archive_.size() + 128);
    auto* begin = block->data() + 64 - reinterpret_cast<std::uintptr_t>(block->data()) % 64 + shift;
    std::memcpy(begin, archive_.data(), archive_.size());
    watched_ = block;
    return {{begin, archive_.size()}, std::move(block)};
  }

  std::vector<std::shared_ptr<const FileTree>> all() {
    return {folder_tree(folder_ / "bundle"), archive_tree(folder_ / "bundle.fgdm"),
            archive_tree(in_memory())};
  }

  testing::TempFolder folder_;
  std::string archive_;
  std::weak_ptr<const void> watched_;
};

TEST_F(FileTreeTest, AnswerAlikeWhereverTheyAre) {
  for (const auto& files : all()) {
    EXPECT_TRUE(files->has("palette.json"));
    EXPECT_FALSE(files->has("palette"));
    EXPECT_EQ(files->size("palette.json"), 14U);
    EXPECT_EQ(text(files->read("palette.json", 2, 7)), "palette");
    EXPECT_EQ(text(files->read("palette.json", 14, 0)), "");
    EXPECT_EQ(read_text(*files, "palette.json"), "{\"palette\": 1}");
    EXPECT_EQ(files->sha256("large"), sha256_file(folder_ / "bundle/large"));
    const auto listed = files->list("plans/tensorrt");
    EXPECT_EQ(std::vector<std::string>(listed.begin(), listed.begin() + 2),
              (std::vector<std::string>{"plans/tensorrt/a.json", "plans/tensorrt/b.json"}));
    EXPECT_TRUE(files->list("plans/absent").empty());
  }
}

TEST_F(FileTreeTest, WhatIsNotThereIsABundleErrorThatNamesIt) {
  for (const auto& files : all()) {
    EXPECT_NE(refusal<BundleError>([&] { files->size("absent"); }).find("absent is missing"),
              std::string::npos);
    for (const auto& part : {std::pair(0, 15), std::pair(15, 0), std::pair(-1, 2)})
      EXPECT_NE(refusal<BundleError>([&] {
                  files->read("palette.json", static_cast<std::uint64_t>(part.first),
                              static_cast<std::uint64_t>(part.second));
                }).find("ends before byte"),
                std::string::npos);
    EXPECT_NE(refusal<BundleError>([&] { read_text(*files, "palette.json", 13); }).find("14 bytes"),
              std::string::npos);
  }
}

TEST_F(FileTreeTest, AnArchiveIsUsedWhereItLiesAndKept) {
  const auto mapped = archive_tree(folder_ / "bundle.fgdm");
  fs::remove(folder_ / "bundle.fgdm");
  EXPECT_EQ(mapped->sha256("large"), sha256_file(folder_ / "bundle/large"));
  EXPECT_EQ(mapped->read("large", 0, 5).data.data(), mapped->read("large", 0, 9).data.data());
  Bytes read;
  {
    auto given = in_memory();
    const auto* begin = given.data.data();
    const auto files = archive_tree(std::move(given));
    read = files->read("palette.json", 0, 14);
    EXPECT_GE(read.data.data(), begin);
    EXPECT_LT(read.data.data(), begin + archive_.size());
  }
  EXPECT_FALSE(watched_.expired()) << "what was read keeps it";
  EXPECT_EQ(text(read), "{\"palette\": 1}");
  read = {};
  EXPECT_TRUE(watched_.expired());
}

TEST_F(FileTreeTest, MemoryThatNumbersCannotBeUsedInIsRefused) {
  EXPECT_NE(refusal<RequestError>([&] { archive_tree(in_memory(8)); }).find("multiple of 16"),
            std::string::npos);
  EXPECT_NO_THROW(archive_tree(in_memory(16)));
}

TEST_F(FileTreeTest, WhatIsNoArchiveIsNamed) {
  write("text.fgdm", "no archive");
  const auto said = refusal<BundleError>([&] { archive_tree(folder_ / "text.fgdm"); });
  EXPECT_NE(said.find("text.fgdm can't be used: it is cut short, or no ZIP archive"),
            std::string::npos);
  EXPECT_NE(said.find("fgdm pack"), std::string::npos);
  EXPECT_NE(refusal<BundleError>([] { archive_tree(Bytes{}); }).find("the archive in memory"),
            std::string::npos);
}

TEST_F(FileTreeTest, APathMayLeadIntoAnArchive) {
  const auto [files, name] = find_folder(folder_ / "bundle.fgdm/plans/tensorrt");
  EXPECT_EQ(name, "plans/tensorrt");
  EXPECT_EQ(read_text(*files, name + "/a.json"), "a");
  const TreeFolder whole = find_folder(folder_ / "bundle.fgdm");
  EXPECT_TRUE(whole.files->has(whole.inner("palette.json")));
  const TreeFolder folder = find_folder(folder_ / "bundle/plans");
  EXPECT_TRUE(folder.files->has(folder.inner("tensorrt/a.json")));
}

}  // namespace
}  // namespace fgdm::file_tree_test
