// A compiled context that isn't whole, or isn't what was asked for, must never be loaded, whoever
// writes beside whom.
#include "contexts.hpp"

#include <gtest/gtest.h>

#include <chrono>
#include <fstream>
#include <functional>
#include <sstream>
#include <thread>

#include "covers.hpp"
#include "fgdm/sha256.hpp"
#include "manifest_fixture.hpp"
#include "runtime_fixture.hpp"
#include "temp_folder.hpp"

namespace fgdm {
namespace {

using nlohmann::json;
using testing::expect_words;

class ContextsTest : public ::testing::Test {
protected:
  static json covered(const std::string& graph = "backbone") {
    return {{"target", "openvino"},
            {"runtime", "onnxruntime 1.31.1"},
            {"device", "CPU"},
            {"graph", graph},
            {"options", {{"load_config", "{}"}}},
            {"files", {{graph + ".onnx", std::string(64, '0')}}}};
  }

  static void write(const std::filesystem::path& file, const std::string& bytes) {
    std::ofstream(file, std::ios::binary) << bytes;
  }

  static std::string read(const std::filesystem::path& file) {
    std::ostringstream text;
    text << std::ifstream(file, std::ios::binary).rdbuf();
    return text.str();
  }

  void keep(const json& covers, const std::string& bytes = "compiled") {
    ContextDraft draft(folder_, covers);
    write(draft.model(), bytes);
    write(draft.model().parent_path() / "weights.bin", "weights");
    draft.keep(1.5);
  }

  // What find() says is wrong, where it finds nothing; "found" where it does.
  std::string problem_of(const json& covers) {
    std::string problem;
    return folder_.find(covers, problem) ? "found" : problem;
  }

  // After the context's metadata has been changed.
  std::string problem_after(const std::function<void(json&)>& change) {
    const auto file = folder_.place(covered()) / "context.json";
    auto changed = json::parse(read(file));
    change(changed);
    write(file, changed.dump());
    return problem_of(covered());
  }

  std::size_t entries(const std::filesystem::path& path) {
    const std::filesystem::directory_iterator all(path);
    return static_cast<std::size_t>(std::distance(begin(all), end(all)));
  }

  testing::TempFolder place_;
  ContextFolder folder_{place_ / "contexts"};
};

TEST_F(ContextsTest, WhatWasKeptIsFound) {
  EXPECT_EQ(problem_of(covered()), "") << "there is none";
  keep(covered());
  std::string problem;
  const auto model = folder_.find(covered(), problem);
  ASSERT_TRUE(model);
  EXPECT_EQ(read(*model), "compiled");
  EXPECT_EQ(model->parent_path(), place_ / "contexts" / "openvino" / covers_key(covered()));
  EXPECT_GT(folder_.bytes(covered()), 15U);
  EXPECT_EQ(entries(place_ / "contexts/openvino"), 1U) << "nothing else is left";
}

TEST_F(ContextsTest, AnotherFolderMayHoldThem) {
  keep(covered());
  std::filesystem::rename(place_ / "contexts", place_ / "moved");
  std::string problem;
  EXPECT_TRUE(ContextFolder(place_ / "moved").find(covered(), problem)) << problem;
}

TEST_F(ContextsTest, AnyByteThatDiffersIsSeen) {
  keep(covered());
  const auto context = folder_.place(covered());
  write(context / "weights.bin", "Weights");
  expect_words(problem_of(covered()), {"weights.bin has been altered"});
  write(context / "weights.bin", "weight");
  expect_words(problem_of(covered()), {"weights.bin has another size"});
  std::filesystem::remove(context / "weights.bin");
  expect_words(problem_of(covered()), {"weights.bin is missing"});
  std::filesystem::create_directory(context / "weights.bin");
  expect_words(problem_of(covered()), {"weights.bin is missing"});
}

TEST_F(ContextsTest, MetadataIsNotBelieved) {
  keep(covered());
  expect_words(problem_after([](json& made) { made["covers"]["device"] = "GPU"; }), {"altered"});
  keep(covered());
  expect_words(problem_after([](json& made) { made["files"].erase("context.onnx"); }),
               {"no context.onnx"});
  keep(covered());
  expect_words(problem_after([](json& made) {
                 made["files"]["../../../secret"] = made["files"]["context.onnx"];
               }),
               {"../../../secret is no file of it"});
  keep(covered());
  expect_words(problem_after([](json& made) { made["schema"] = 2; }), {"newer fgdm"});
  for (const char* text : {"", "[]", "{\"schema\": 1}", "{\"schema\": 1, \"covers\": 7}"}) {
    keep(covered());
    write(folder_.place(covered()) / "context.json", text);
    EXPECT_NE(problem_of(covered()), "found") << text;
    EXPECT_NE(problem_of(covered()), "") << text;
  }
  std::filesystem::remove(folder_.place(covered()) / "context.json");
  expect_words(problem_of(covered()), {"context.json is missing"});
}

TEST_F(ContextsTest, AStaleOneSaysInWhatItDiffers) {
  keep(covered());
  keep(covered("text_encoder"));
  auto newer = covered();
  newer["runtime"] = "onnxruntime 1.32.0";
  EXPECT_EQ(problem_of(newer), "the one that is there is stale: runtime was onnxruntime 1.31.1 and "
                               "is onnxruntime 1.32.0");
  newer["files"]["backbone.onnx"] = std::string(64, '1');
  expect_words(problem_of(newer), {"files changed", "runtime was"});
  EXPECT_EQ(problem_of(covered("vae_decoder")), "") << "others are of other graphs";
}

TEST_F(ContextsTest, ASpoiltOneIsReplacedAndASoundOneStays) {
  keep(covered(), "spoilt!!");
  write(folder_.place(covered()) / "context.onnx", "spoiLt!!");
  keep(covered(), "second");
  std::string problem;
  EXPECT_EQ(read(folder_.find(covered(), problem).value_or("")), "second") << problem;
  keep(covered(), "third");
  EXPECT_EQ(read(folder_.find(covered(), problem).value_or("")), "second") << problem;
  EXPECT_EQ(entries(place_ / "contexts/openvino"), 1U);
}

TEST_F(ContextsTest, WhatIsNotKeptLeavesNothing) {
  {
    ContextDraft draft(folder_, covered());
    EXPECT_FALSE(draft.is_written());
    write(draft.model(), "half");
    EXPECT_TRUE(draft.is_written());
    EXPECT_EQ(problem_of(covered()), "");
  }
  EXPECT_EQ(entries(place_ / "contexts/openvino"), 0U);
}

TEST_F(ContextsTest, LeftoversGoAfterADay) {
  keep(covered());
  const auto old = place_ / "contexts/openvino/.old.part",
             young = place_ / "contexts/openvino/.young.part";
  for (const auto& leftover : {old, young})
    std::filesystem::create_directory(leftover);
  std::filesystem::last_write_time(old, std::filesystem::file_time_type::clock::now() -
                                            std::chrono::hours(25));
  keep(covered("text_encoder"));
  EXPECT_FALSE(std::filesystem::exists(old));
  EXPECT_TRUE(std::filesystem::exists(young));
}

TEST_F(ContextsTest, AFolderThatCannotBeMadeIsAnError) {
  write(place_ / "contexts", "a file");
  EXPECT_THROW(ContextDraft(folder_, covered()), std::filesystem::filesystem_error);
}

TEST_F(ContextsTest, ManyWritersAndReadersSeeWholeOnes) {
  std::vector<std::thread> threads;
  for (int writer = 0; writer < 4; ++writer)
    threads.emplace_back([&, writer] {
      for (int i = 0; i < 25; ++i)
        keep(covered(), std::string(1000 + static_cast<std::size_t>(writer), 'x'));
    });
  threads.emplace_back([&] {
    for (int i = 0; i < 100; ++i) {
      std::string problem;
      folder_.find(covered(), problem);
      EXPECT_EQ(problem, "");
    }
  });
  for (auto& thread : threads)
    thread.join();
  EXPECT_EQ(problem_of(covered()), "found");
  EXPECT_EQ(entries(place_ / "contexts/openvino"), 1U);
}

TEST_F(ContextsTest, ManyThatFindASpoiltOneAllSucceed) {
  for (int round = 0; round < 20; ++round) {
    keep(covered(), "sound");
    write(folder_.place(covered()) / "context.onnx", "spoilt");
    std::vector<std::thread> threads;
    for (int writer = 0; writer < 6; ++writer)
      threads.emplace_back([&] { EXPECT_NO_THROW(keep(covered(), "sound")); });
    for (auto& thread : threads)
      thread.join();
    EXPECT_EQ(problem_of(covered()), "found");
    EXPECT_EQ(entries(place_ / "contexts/openvino"), 1U) << "and nothing is left of the spoilt";
  }
}

TEST_F(ContextsTest, ASoundOneThatIsRefusedIsReplaced) {
  keep(covered(), "refused");
  ContextDraft draft(folder_, covered());
  write(draft.model(), "another");
  draft.keep(1, true);
  std::string problem;
  EXPECT_EQ(read(*folder_.find(covered(), problem)), "another");
}

TEST_F(ContextsTest, AGraphsFilesAreThoseThatItNames) {
  auto manifest = test::valid_manifest();
  for (const char* name : {"unet/weights.bin", "other/weights.bin"})
    manifest["files"][name] = {{"size", 1}, {"sha256", std::string(64, '1')}};
  const auto parsed = Manifest::parse(manifest.dump());
  std::filesystem::create_directory(place_ / "unet");
  write(place_ / "backbone.onnx", "location unet/weights.bin length 1");
  using Files = std::map<std::string, std::string>;
  EXPECT_EQ(
      graph_files(*folder_tree(place_.path()), parsed, "backbone"),
      (Files{{"backbone.onnx", std::string(64, '0')}, {"unet/weights.bin", std::string(64, '1')}}));
}

}  // namespace
}  // namespace fgdm
