// A graph is compiled once and then loaded from its context, for every reason why it can't be there
// is a way on, and whoever opens the bundle is told.
#include "context_loader.hpp"

#include <gtest/gtest.h>

#include <fstream>

#include "bundle_folder.hpp"
#include "fake_sessions.hpp"
#include "fgdm/error.hpp"
#include "file_tree.hpp"
#include "provider_options.hpp"
#include "providers.hpp"
#include "runtime_fixture.hpp"

namespace fgdm {
namespace {

using testing::expect_words;
using testing::refusal;
using testing::shipped;

// A runtime whose provider writes its contexts as text, and takes what it wrote.
class CompilingRuntime final : public OrtRuntime {
public:
  std::string version() const override { return version_; }
  std::vector<Provider> providers() const override { return {Provider::openvino}; }
  bool built_in(Provider provider) const override { return provider == built_in_; }
  std::vector<OrtDevice> devices() const override { return {}; }
  std::vector<std::string> plugin_problems() const override { return {}; }
  std::string plugin_name(Provider) const override { return "Compiler 1"; }
  OrtTarget target(Provider provider, const OrtLoadOptions& options) const override {
    return {"Compiler 1", "GPU 0x10de:0x2684 a card",
            ort::provider_options(provider, false, options, 0)};
  }

  std::string attention(Provider, const OrtLoadOptions&) const override { return "standard"; }

  std::unique_ptr<Session> load(const OrtGraph& graph, Provider,
                                const OrtLoadOptions& options) override {
    last_ = options;
    const bool is_context = graph.file.filename() == "context.onnx";
    ++(is_context ? loaded_ : compiled_);
    if (is_context && refuses_contexts_)
      throw BackendError("made for another driver");
    if (!options.context.empty() && fails_to_write_)
      throw BackendError("No space left on device");
    if (!options.context.empty() && writes_)
      std::ofstream(options.context) << "compiled";
    return std::make_unique<testing::FakeSession>(shipped().manifest().graph("backbone"),
                                                  testing::FakeSession::Hook());
  }

  std::string version_ = "1.31.1";
  Provider built_in_ = Provider::cpu;
  bool writes_ = true, fails_to_write_ = false, refuses_contexts_ = false;
  int compiled_ = 0, loaded_ = 0;
  OrtLoadOptions last_;
};

class ContextLoaderTest : public ::testing::Test {
protected:
  ContextLoader::Loaded load(Provider provider = Provider::openvino) {
    ContextLoader loader(runtime_, provider, {}, place_ / "contexts");
    auto loaded = loader.load(loader.describe(shipped(), "backbone"));
    notes_ = loader.take_notes();
    return loaded;
  }

  std::string note() const { return notes_.size() == 1 ? notes_.front() : ""; }

  std::filesystem::path model() const {
    for (const auto& entry : std::filesystem::recursive_directory_iterator(place_ / "contexts"))
      if (entry.path().filename() == "context.onnx")
        return entry.path();
    return {};
  }

  testing::TempFolder place_;
  std::shared_ptr<CompilingRuntime> runtime_ = std::make_shared<CompilingRuntime>();
  std::vector<std::string> notes_;
};

TEST_F(ContextLoaderTest, TheSecondLoadCompilesNothing) {
  const auto first = load();
  EXPECT_FALSE(first.was_kept);
  EXPECT_GT(first.bytes, 0U);
  const auto second = load();
  EXPECT_TRUE(second.was_kept);
  EXPECT_EQ(second.bytes, first.bytes);
  EXPECT_EQ(runtime_->compiled_, 1);
  EXPECT_EQ(runtime_->loaded_, 1);
  EXPECT_TRUE(runtime_->last_.context.empty()) << "what is loaded isn't written again";
  EXPECT_TRUE(notes_.empty());
}

TEST_F(ContextLoaderTest, AnotherRuntimeCompilesAnewAndSaysSo) {
  load();
  runtime_->version_ = "1.32.0";
  EXPECT_FALSE(load().was_kept);
  expect_words(note(), {"backbone was made anew", "stale", "1.31.1", "1.32.0"});
  EXPECT_TRUE(load().was_kept);
  runtime_->version_ = "1.31.1";
  EXPECT_TRUE(load().was_kept) << "both are there";
}

TEST_F(ContextLoaderTest, ASpoiltOneIsCompiledAnew) {
  load();
  std::ofstream(model()) << "compilEd";
  EXPECT_FALSE(load().was_kept);
  expect_words(note(), {"made anew", "context.onnx has been altered"});
  EXPECT_EQ(runtime_->loaded_, 0) << "the provider never saw it";
  EXPECT_TRUE(load().was_kept);
}

TEST_F(ContextLoaderTest, OneThatTheProviderRefusesIsCompiledAnew) {
  load();
  runtime_->refuses_contexts_ = true;
  const auto loaded = load();
  EXPECT_FALSE(loaded.was_kept);
  EXPECT_NE(loaded.session, nullptr);
  expect_words(note(), {"made anew", "can't be loaded", "made for another driver"});
}

TEST_F(ContextLoaderTest, WhatIsCompiledInPlaceOfARefusedOneIsKept) {
  load();
  std::filesystem::last_write_time(model(), {});
  const auto refused = std::filesystem::last_write_time(model());
  runtime_->refuses_contexts_ = true;
  EXPECT_GT(load().bytes, 0U);
  EXPECT_NE(std::filesystem::last_write_time(model()), refused);
  runtime_->refuses_contexts_ = false;
  EXPECT_TRUE(load().was_kept);
  EXPECT_EQ(runtime_->compiled_, 2);
}

TEST_F(ContextLoaderTest, WhereNothingCanBeWrittenGraphsAreLoadedWithANote) {
  std::ofstream(place_ / "contexts") << "a file";
  const auto loaded = load();
  EXPECT_NE(loaded.session, nullptr);
  EXPECT_EQ(loaded.bytes, 0U);
  expect_words(note(), {"can't be kept in", "contexts", "Not a directory", "\"off\""});
  EXPECT_TRUE(runtime_->last_.context.empty());
}

TEST_F(ContextLoaderTest, OneNoteTellsOfAllGraphs) {
  std::ofstream(place_ / "contexts") << "a file";
  ContextLoader loader(runtime_, Provider::openvino, {}, place_ / "contexts");
  const auto graph = loader.describe(shipped(), "backbone");
  for (int i = 0; i < 3; ++i)
    loader.load(graph);
  EXPECT_EQ(loader.take_notes().size(), 1U);
}

TEST_F(ContextLoaderTest, AContextThatCannotBeWrittenCostsNoSession) {
  runtime_->fails_to_write_ = true;
  EXPECT_NE(load().session, nullptr);
  expect_words(note(), {"can't be kept", "No space left on device"});
  EXPECT_TRUE(model().empty());
}

TEST_F(ContextLoaderTest, AProviderThatMakesNoneIsNamed) {
  runtime_->writes_ = false;
  EXPECT_NE(load().session, nullptr);
  expect_words(note(), {"Compiler 1 made no compiled context of backbone"});
}

TEST_F(ContextLoaderTest, TensorRtRtxIsToldWhereItsKernelsAreKept) {
  load(Provider::tensorrt_rtx);
  const auto kernels = runtime_->last_.kernels;
  EXPECT_TRUE(std::filesystem::is_directory(kernels));
  EXPECT_EQ(kernels, model().parent_path().string() + ".kernels");
  EXPECT_TRUE(load(Provider::tensorrt_rtx).was_kept) << "the folder is no part of the key";
  EXPECT_EQ(runtime_->last_.kernels, kernels);
  load(Provider::openvino);
  EXPECT_TRUE(runtime_->last_.kernels.empty());
}

TEST(ProviderOptions, AreWhatTheProvidersDocumentationCallsThem) {
  using ort::provider_options;
  using Options = ort::ProviderOptions;
  EXPECT_EQ(provider_options(Provider::tensorrt_rtx, false, {}, 2), Options{});
  EXPECT_EQ(provider_options(Provider::tensorrt_rtx, false, {.kernels = "/kernels"}, 2),
            (Options{{"nv_runtime_cache_path", "/kernels"}}));
  int stream = 0;
  const auto cuda = provider_options(Provider::cuda, true, {.device = 1, .stream = &stream}, 2);
  EXPECT_EQ(cuda.at("user_compute_stream"),
            std::to_string(reinterpret_cast<std::uintptr_t>(&stream)));
  EXPECT_EQ(cuda.at("device_id"), "1");
  EXPECT_FALSE(provider_options(Provider::cuda, true, {}, 2).contains("user_compute_stream"));
  EXPECT_EQ(provider_options(Provider::openvino, false, {.bfloat16 = true}, 2),
            (Options{{"load_config", R"({"CPU": {"INFERENCE_PRECISION_HINT": "bf16", )"
                                     R"("INFERENCE_NUM_THREADS": "2"}})"}}));
  EXPECT_EQ(provider_options(Provider::cuda, false, {}, 0), (Options{{"use_tf32", "0"}}));
  EXPECT_EQ(provider_options(Provider::cuda, true, {.device = 1}, 0).at("device_id"), "1");
  EXPECT_EQ(provider_options(Provider::cpu, true, {}, 0), Options{});
}

TEST(ContextsFolder, IsWhereTheOptionsSay) {
  CompilingRuntime runtime;
  const auto folder = [&runtime](std::filesystem::path contexts, Provider provider,
                                 const std::string& backend) {
    EngineOptions options;
    options.backend = backend;
    options.contexts = std::move(contexts);
    return contexts_folder(options, shipped(), provider, runtime).value_or("none");
  };
  const auto own = shipped().files()->path("manifest.json").parent_path() / "contexts";
  EXPECT_EQ(folder("auto", Provider::tensorrt_rtx, "tensorrt-rtx"), own);
  EXPECT_EQ(folder("auto", Provider::openvino, "openvino"), "none");
  EXPECT_EQ(folder("bundle", Provider::openvino, "openvino"), own);
  EXPECT_EQ(folder("/elsewhere", Provider::openvino, "auto"), "/elsewhere");
  EXPECT_EQ(folder("off", Provider::tensorrt_rtx, "tensorrt-rtx"), "none");
  EXPECT_EQ(folder("bundle", Provider::cpu, "auto"), "none") << "the engine notes it";
  expect_words(refusal<RequestError>([&] { folder("bundle", Provider::cpu, "cpu"); }),
               {"contexts is \"bundle\"", "backend \"cpu\"", "tensorrt-rtx"});
  runtime.built_in_ = Provider::openvino;
  expect_words(refusal<RequestError>([&] { folder("bundle", Provider::openvino, "openvino"); }),
               {"backend \"openvino\" compiles none", "onnxruntime-ep-openvino"});
  expect_words(refusal<RequestError>([&] { folder("", Provider::cpu, "cpu"); }), {"\"auto\""});
}

}  // namespace
}  // namespace fgdm
