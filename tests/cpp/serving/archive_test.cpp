// A bundle from an archive, on the disk or in memory: the pictures of its folder, byte for byte.
#include <array>
#include <cstring>
#include <fstream>

#include "bundle_folder.hpp"
#include "fgdm/engine.hpp"
#include "fgdm/error.hpp"
#include "files.hpp"
#include "onnx_file.hpp"
#include "runtime_fixture.hpp"
#include "scheduler_fixture.hpp"
#include "zip_file.hpp"

namespace fgdm::archive_test {
namespace {

using testing::cpu_options;
using testing::expect_words;
using testing::refusal;
using testing::with;

const auto scenes_folder = std::filesystem::path(FGDM_BUNDLES) / "scenes";

Result paint(Engine& engine) {
  Request request;
  request.prompt = "two dogs beside a house";
  request.seed = 7;
  request.candidates = 2;
  request.condition_steps = 2;
  request.num_inference_steps = 2;
  request.height = request.width = 64;
  request.stop_at_recall = 0.0;
  return engine.generate(std::move(request));
}

// Bytes on the heap, with an owner that the test watches.
Bytes on_the_heap(const std::string& archive, std::weak_ptr<const void>& watched) {
  auto block = std::make_shared<std::vector<std::byte>>(archive.size() + 64);
  auto* begin = block->data() + 64 - reinterpret_cast<std::uintptr_t>(block->data()) % 64;
  std::memcpy(begin, archive.data(), archive.size());
  watched = block;
  return {{begin, archive.size()}, std::move(block)};
}

class ArchiveTest : public testing::RuntimeTest {
protected:
  static void SetUpTestSuite() { archive_ = testing::archive_of(scenes_folder); }
  static void TearDownTestSuite() { archive_.clear(); }

  std::filesystem::path file(const std::string& bytes = archive_) const {
    std::ofstream(folder_ / "scenes.fgdm", std::ios::binary) << bytes;
    return folder_ / "scenes.fgdm";
  }

  testing::TempFolder folder_;
  static inline std::string archive_;
};

class ArchiveWithMemory : public ArchiveTest, public ::testing::WithParamInterface<const char*> {};
INSTANTIATE_TEST_SUITE_P(Memory, ArchiveWithMemory, ::testing::Values("full", "low"),
                         [](const auto& instance) { return std::string(instance.param); });

TEST_P(ArchiveWithMemory, PaintsWhatTheFolderPaints) {
  const auto options = with(&EngineOptions::memory, GetParam());
  Engine from_folder(scenes_folder, options);
  const auto expected = paint(from_folder);
  Engine from_file(file(), options);
  std::filesystem::remove(folder_ / "scenes.fgdm");  // it is mapped
  EXPECT_EQ(paint(from_file).image.data, expected.image.data);
  std::weak_ptr<const void> watched;
  {
    Engine from_memory(on_the_heap(archive_, watched), options);
    const auto made = paint(from_memory);
    EXPECT_EQ(made.image.data, expected.image.data);
    ASSERT_EQ(made.candidates.size(), expected.candidates.size());
    for (std::size_t i = 0; i < made.candidates.size(); ++i)
      EXPECT_EQ(made.candidates[i].map.data, expected.candidates[i].map.data);
    EXPECT_EQ(from_memory.bundle_file("palette.json"), from_folder.bundle_file("palette.json"));
    EXPECT_FALSE(watched.expired());
  }
  EXPECT_TRUE(watched.expired()) << "it isn't needed any more";
}

TEST_F(ArchiveTest, AFileThatTheManifestDoesNotListIsNotGivenOut) {
  Engine engine(file(), cpu_options());
  for (const char* name : {"manifest.json", "../scenes.fgdm", "", "absent"})
    EXPECT_THROW(engine.bundle_file(name), RequestError) << name;
}

// Damage is told when the archive is opened, with what to do.
class ArchiveDamageTest : public ::testing::Test {
protected:
  ArchiveDamageTest() {
    testing::add_models(folder_, testing::scenes().manifest());
    folder_.save(folder_.manifest().dump());
  }

  std::string refused(const std::string& archive) {
    std::ofstream(files_ / "a.fgdm", std::ios::binary) << archive;
    return refusal<BundleError>([&] { Bundle::open(files_ / "a.fgdm"); });
  }

  testing::BundleFolder folder_;
  testing::TempFolder files_;
};

TEST_F(ArchiveDamageTest, IsABundleErrorThatSaysWhatToDo) {
  const auto whole = testing::archive_of(folder_.path());
  EXPECT_EQ(refused(whole), "");
  expect_words(refused(whole.substr(0, whole.size() / 2)), {"a.fgdm", "cut short", "fgdm pack"});
  const auto palette = read_file(folder_.path() / "palette.json");
  auto altered = whole;
  altered[whole.find(palette) + 5] ^= 1;
  expect_words(refused(altered), {"a.fgdm/palette.json was altered", "fetch a fresh copy"});

  std::filesystem::remove(folder_.path() / "vae_decoder.onnx");
  expect_words(refused(testing::archive_of(folder_.path())),
               {"a.fgdm/vae_decoder.onnx is missing", "fgdm pack"});
  folder_.add("vae_decoder.onnx", "another");  // the manifest goes on describing that before
  expect_words(refused(testing::archive_of(folder_.path())), {"has 7 bytes, the manifest says"});
  std::filesystem::remove(folder_.path() / "manifest.json");
  expect_words(refused(testing::archive_of(folder_.path())), {"manifest.json isn't there"});
}

TEST_F(ArchiveDamageTest, APathThatIsNeitherFolderNorArchiveIsSaidToBe) {
  expect_words(refusal<BundleError>([&] { Bundle::open(files_ / "absent"); }),
               {"absent", "neither a folder nor an archive", "No such file"});
}

TEST_F(ArchiveDamageTest, NoBytesAreNoArchive) {
  expect_words(refusal<BundleError>([] { Bundle::open(Bytes()); }),
               {"in memory", "no ZIP archive"});
}

}  // namespace
}  // namespace fgdm::archive_test
