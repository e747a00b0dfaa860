// A bundle's graphs on the real runtime: which are loaded, what must fit the manifest; and what a
// call does around a session's.
#include "graphs.hpp"

#include <algorithm>
#include <array>
#include <functional>
#include <thread>

#include "fake_sessions.hpp"
#include "fgdm/error.hpp"
#include "onnx_file.hpp"
#include "runtime_fixture.hpp"

namespace fgdm {
namespace {

using testing::expect_words;
using testing::num_threads;
using testing::refusal;
using testing::scenes;
using testing::with;

// The shipped bundle with graphs that have its inputs and outputs, and no weights.
class GraphsTest : public testing::RuntimeTest {
protected:
  GraphsTest() { add_models(folder_, scenes().manifest()); }

  // Another graph in the place of one; the manifest goes on describing that.
  void exchange(const std::string& name, const std::function<void(GraphSpec&)>& change) {
    auto spec = scenes().manifest().graph(name);
    change(spec);
    folder_.add(spec.file, testing::onnx_model(spec));
  }

  Graphs open(const EngineOptions& options = testing::cpu_options()) {
    folder_.save(folder_.manifest().dump());
    return Graphs(Bundle::open(folder_.path()), options);
  }

  // What the bundle is refused with.
  std::string refused() {
    return refusal<BundleError>([&] { open(); });
  }

  testing::BundleFolder folder_;
};

TEST_F(GraphsTest, SayWhatTheyRunOn) {
  const auto graphs = open();
  EXPECT_EQ(graphs.backend(), "cpu");
  EXPECT_EQ(graphs.precision(), "fp32");
  EXPECT_EQ(graphs.runtime(), "onnxruntime " + OrtRuntime::open(FGDM_TEST_RUNTIME, 1)->version());
  EXPECT_TRUE(graphs.notes().empty());
  EXPECT_EQ(graphs.device()->place(), Place::host);
}

TEST_F(GraphsTest, AreThoseThatTheChainRuns) {
  folder_.add(scenes().manifest().graph("vae_encoder").file, "no graph");
  folder_.add(scenes().manifest().graph("backbone_shallow_1").file, "no graph");
  EXPECT_NO_THROW(open()) << "what few requests run isn't loaded";
}

TEST_F(GraphsTest, AnOptionalFactorsGraphIsLoadedByTheFirstCall) {
  // With one more factor whose adapter has these bytes.
  const auto open_with = [&](const std::string& bytes) {
    folder_.add("adapter_more.onnx", bytes);
    auto manifest = folder_.manifest();
    auto factor = manifest["factors"][0];
    factor["name"] = "more";
    factor["optional"] = true;
    factor["conditionings"][0]["graph"] = "adapter_more";
    manifest["factors"].insert(manifest["factors"].begin() + 1, factor);
    manifest["graphs"]["adapter_more"] = manifest["graphs"]["adapter_segmentation"];
    manifest["graphs"]["adapter_more"]["file"] = "adapter_more.onnx";
    folder_.save(manifest.dump());
    return Graphs(Bundle::open(folder_.path()), with(&EngineOptions::threads, 2));
  };
  const auto call = [](Graphs& graphs) {
    std::vector<float> sample(4), timestep(1), made{1.0F};
    graphs.run("adapter_more", "condition",
               std::array{NamedTensor{"sample", {DType::float32, {1, 4, 1, 1}, sample.data()}},
                          NamedTensor{"timestep", {DType::float32, {1}, timestep.data()}}},
               std::array{NamedTensor{"intrablock_residual_0",
                                      {DType::float32, {1, 1, 1, 1}, made.data()}}});
    EXPECT_EQ(made.front(), 0.0F);
  };
  auto spec = scenes().manifest().graph("adapter_segmentation");
  auto sound = open_with(testing::onnx_model(spec));
  const int before = num_threads();
  call(sound);
  EXPECT_EQ(num_threads() - before, 1) << "its session has come";
  call(sound);
  EXPECT_EQ(num_threads() - before, 1) << "and stays";

  auto broken = open_with("no graph");
  for (int i = 0; i < 2; ++i)  // the second call is told the same
    expect_words(refusal<BackendError>([&] { call(broken); }), {"loading", "adapter_more.onnx"});
  spec.outputs[0].name = "other";
  auto unlike = open_with(testing::onnx_model(spec));
  expect_words(refusal<BundleError>([&] { call(unlike); }), {"adapter_more.onnx", "\"other\""});
}

// Each session has threads of its own besides the caller's.
TEST_F(GraphsTest, AGraphOfTwoNetworksIsLoadedOnce) {
  auto manifest = folder_.manifest();
  auto& image = manifest["factors"].back();
  auto second = image["conditionings"][0];
  second["scale"] = 0.5;
  image["conditionings"].push_back(second);
  const auto options = with(&EngineOptions::threads, 3);
  folder_.save(manifest.dump());
  const auto bundle = Bundle::open(folder_.path());
  Graphs(bundle, options);  // whatever the library starts once
  const int before = num_threads();
  const Graphs graphs(bundle, options);
  // Without the autoencoder's encoder, the shallow backbones and the segmenter.
  const auto loaded = static_cast<int>(manifest["graphs"].size()) - 4;
  EXPECT_EQ(num_threads() - before, 2 * loaded);
}

// Runs a graph on zeros, one row each.
void call(Graphs& graphs, const std::string& name) {
  const auto& spec = scenes().manifest().graph(name);
  std::vector<std::vector<char>> memory;
  const auto tensors = [&](const std::vector<TensorSpec>& specs, std::int64_t rest) {
    std::vector<NamedTensor> found;
    for (const auto& tensor : specs) {
      TensorView view{tensor.dtype, tensor.shape, nullptr};
      for (auto& size : view.shape)
        if (size < 0)
          size = rest;
      view.shape.front() = 1;
      view.data = memory.emplace_back(view.bytes() + 1).data();
      found.push_back({tensor.name, view});
    }
    return found;
  };
  const auto inputs = tensors(spec.inputs, 8);
  auto outputs = tensors(spec.outputs, 1);
  for (auto& output : outputs)
    std::ranges::fill(output.tensor.shape, 1);  // as onnx_model's are
  graphs.run(name, "stage", inputs, outputs);
}

TEST_F(GraphsTest, WithLowMemoryOneFactorsAreLoadedAtATime) {
  auto options = with(&EngineOptions::threads, 2);  // a session has one thread beside the caller's
  options.memory = "low";
  folder_.save(folder_.manifest().dump());
  const auto bundle = Bundle::open(folder_.path());
  Graphs(bundle, options);  // whatever the library starts once
  const int before = num_threads();
  Graphs graphs(bundle, options);
  EXPECT_EQ(num_threads() - before, 0) << "each was tried, and released";
  const auto loaded_after = [&](const char* graph) {
    call(graphs, graph);
    return num_threads() - before;
  };
  EXPECT_EQ(loaded_after("text_encoder"), 1);
  EXPECT_EQ(loaded_after("adapter_segmentation"), 1) << "the text encoder has left";
  EXPECT_EQ(loaded_after("backbone"), 2);
  EXPECT_EQ(loaded_after("controlnet_segmentation"), 2) << "the adapter has left";
  EXPECT_EQ(loaded_after("backbone"), 2);
  EXPECT_EQ(loaded_after("vae_decoder"), 1);
}

TEST_F(GraphsTest, WithLowMemoryABrokenGraphIsFoundOnOpening) {
  folder_.add(scenes().manifest().graph("vae_decoder").file, "no graph");
  expect_words(refusal<BackendError>([&] { open(with(&EngineOptions::memory, "low")); }),
               {"loading", "vae_decoder.onnx"});
}

TEST_F(GraphsTest, LowMemoryIsTheProcessors) {
  expect_words(refusal<RequestError>([&] { open(with(&EngineOptions::memory, "tiny")); }),
               {"memory is \"tiny\"", "expected \"full\" or \"low\""});
  auto options = with(&EngineOptions::memory, "low");
  for (const char* backend : {"openvino", "cuda", "tensorrt"}) {
    options.backend = backend;
    expect_words(refusal<RequestError>([&] { open(options); }), {"backend \"cpu\"", backend});
  }
  options.backend = "auto";
  EXPECT_EQ(open(options).backend(), "cpu");
}

TEST_F(GraphsTest, AGraphThatTheRuntimeRefusesIsABackendError) {
  const auto& file = scenes().manifest().graph("backbone").file;
  folder_.add(file, "no graph");
  expect_words(refusal<BackendError>([&] { open(); }), {"loading", file.c_str()});
}

TEST_F(GraphsTest, NamesRanksAndTypesMustBeTheManifests) {
  struct Case {
    const char* graph;
    std::function<void(GraphSpec&)> change;
    std::vector<const char*> words;
  };
  const std::vector<Case> cases{
      {"backbone",
       [](GraphSpec& spec) { spec.inputs[0].name = "other"; },
       {"backbone.onnx has the input \"other\"", "doesn't have for graph backbone"}},
      {"backbone",
       [](GraphSpec& spec) { spec.inputs[1].shape.push_back(1); },
       {"backbone.onnx has the input \"timestep\" (float32, 2 dimensions)",
        "says \"timestep\" (float32, 1 dimensions)"}},
      {"text_encoder",
       [](GraphSpec& spec) { spec.inputs[0].dtype = DType::int32; },
       {"\"input_ids\" (int32, 2 dimensions)", "says \"input_ids\" (int64, 2 dimensions)"}},
      {"vae_decoder",
       [](GraphSpec& spec) { spec.outputs[0].name = "picture"; },
       {"vae_decoder.onnx has the output \"picture\""}},
      {"vae_decoder",
       [](GraphSpec& spec) { spec.outputs[0].shape.pop_back(); },
       {"the output \"image\" (float32, 3 dimensions)", "says \"image\" (float32, 4 dimensions)"}},
      {"adapter_segmentation",
       [](GraphSpec& spec) { spec.outputs[0].dtype = DType::float16; },
       {"(float16, 4 dimensions)", "(float32, 4 dimensions)"}},
      {"controlnet_segmentation",
       [](GraphSpec& spec) { spec.outputs.pop_back(); },
       {"controlnet_segmentation.onnx has no output", "which manifest.json has"}}};
  for (const auto& [graph, change, words] : cases) {
    exchange(graph, change);
    expect_words(refused(), words);
    exchange(graph, [](GraphSpec&) {});
  }
  EXPECT_EQ(refused(), "") << "the sound one";
}

// Exporters drop inputs that nothing reads.
TEST_F(GraphsTest, InputsMayBeMissing) {
  exchange("text_encoder", [](GraphSpec& spec) { spec.inputs.clear(); });
  auto graphs = open();
  std::vector<std::int64_t> ids(48);
  std::vector<float> embeddings{1.0F};
  graphs.run("text_encoder", "text",
             std::array{NamedTensor{"input_ids", {DType::int64, {1, 48}, ids.data()}}},
             std::array{NamedTensor{"encoder_hidden_states",
                                    {DType::float32, {1, 1, 1}, embeddings.data()}}});
  EXPECT_EQ(embeddings.front(), 0.0F);
}

TEST_F(GraphsTest, WhatCannotBeHadIsToldByItsKind) {
  expect_words(refusal<RequestError>([&] { open(with(&EngineOptions::backend, "tpu")); }),
               {"\"tpu\"", "expected"});
  expect_words(refusal<RequestError>([&] { open(with(&EngineOptions::precision, "fp8")); }),
               {"\"fp8\"", "expected"});
  expect_words(refusal<BackendError>([&] { open(with(&EngineOptions::precision, "fp16")); }),
               {"graphs are fp32"});
  expect_words(refusal<BackendError>([&] { open(with(&EngineOptions::precision, "bf16")); }),
               {"openvino backend"});
  const auto built = OrtRuntime::open(FGDM_TEST_RUNTIME, 1)->providers();
  if (std::ranges::find(built, Provider::openvino) == built.end())
    expect_words(refusal<BackendError>([&] { open(with(&EngineOptions::backend, "openvino")); }),
                 {"install onnxruntime-ep-openvino"});
}

TEST(GraphsLibrary, ThatIsAbsentIsABackendError) {
  const auto options = with(&EngineOptions::library, "/absent/libonnxruntime.so");
  expect_words(refusal<BackendError>([&] { Graphs(scenes(), options); }),
               {"/absent/libonnxruntime.so"});
}

// Runs the text encoder, whose n-th call does what the n-th of `calls` does.
class GraphsRun : public ::testing::Test {
protected:
  double run(std::vector<std::function<void()>> calls) {
    auto graphs = testing::fake_graphs(
        scenes().manifest(),
        [&](const std::string&, auto, auto) { calls.at(static_cast<std::size_t>(calls_++))(); }, {},
        device_);
    std::vector<std::int64_t> ids(48);
    std::vector<float> embeddings(48 * 128);
    const std::array inputs{NamedTensor{"input_ids", {DType::int64, {1, 48}, ids.data()}}};
    const std::array outputs{
        NamedTensor{"encoder_hidden_states", {DType::float32, {1, 48, 128}, embeddings.data()}}};
    try {
      const auto seconds = graphs.run("text_encoder", "text", inputs, outputs);
      EXPECT_EQ(graphs.timings().seconds().at("text"), seconds);
      return seconds;
    } catch (...) {
      failed_seconds_ = graphs.total_seconds();
      throw;
    }
  }

  std::shared_ptr<testing::FarDevice> device_ = std::make_shared<testing::FarDevice>();
  int calls_ = 0;
  double failed_seconds_ = 0;
};

void sound() {}
void too_large() {
  throw OutOfMemoryError("too large");
}
void broken() {
  std::this_thread::sleep_for(std::chrono::milliseconds(5));
  throw BackendError("broken");
}

TEST_F(GraphsRun, WaitsForTheDeviceAndBooksTheTime) {
  EXPECT_GE(run({[] { std::this_thread::sleep_for(std::chrono::milliseconds(5)); }}), 0.005);
  EXPECT_EQ(device_->waits, 1);
  EXPECT_EQ(device_->trims, 0);
}

TEST_F(GraphsRun, WithoutMemoryTheDeviceGivesBackAndTheCallIsRepeated) {
  run({too_large, sound});
  EXPECT_EQ(calls_, 2);
  EXPECT_EQ(device_->trims, 1);
}

TEST_F(GraphsRun, IsRepeatedOnce) {
  EXPECT_THROW(run({too_large, too_large, sound}), OutOfMemoryError);
  EXPECT_EQ(calls_, 2);
  EXPECT_EQ(device_->trims, 1);
}

TEST_F(GraphsRun, AnotherFailureIsNotRepeatedAndItsTimeIsBooked) {
  EXPECT_THROW(run({broken, sound}), BackendError);
  EXPECT_EQ(calls_, 1);
  EXPECT_EQ(device_->trims, 0);
  EXPECT_GE(failed_seconds_, 0.005);
}

}  // namespace
}  // namespace fgdm
