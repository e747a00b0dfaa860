// A graph on the real runtime: what it declares, computes and refuses.
#include "fgdm/ort_session.hpp"

#include <array>
#include <cstdlib>
#include <fstream>
#include <numeric>

#include "fgdm/error.hpp"
#include "freed_memory.hpp"
#include "onnx_file.hpp"
#include "runtime_fixture.hpp"
#include "temp_folder.hpp"

namespace fgdm {
namespace {

using testing::expect_words;
using testing::num_threads;
using testing::onnx_type;
using testing::OnnxGraph;
using testing::refusal;

const int float32 = onnx_type(DType::float32);

TensorView view(std::vector<float>& values, std::vector<std::int64_t> shape) {
  return {DType::float32, std::move(shape), values.data()};
}

void run(Session& session, const std::vector<NamedTensor>& inputs, const NamedTensor& output) {
  session.run(inputs, std::span(&output, 1));
}

// (rows, 3) twice; the sum.
OnnxGraph sum_graph() {
  OnnxGraph graph;
  graph.input("a", float32, {-1, 3}).input("b", float32, {-1, 3}).output("sum", float32, {-1, 3});
  return graph.node("Add", {"a", "b"}, "sum");
}

class OrtSessionTest : public testing::RuntimeTest {
protected:
  std::unique_ptr<Session> load(const std::string& model, int threads = 1) const {
    std::ofstream(file_, std::ios::binary) << model;
    return OrtRuntime::open(FGDM_TEST_RUNTIME, threads)->load(file_, Provider::cpu);
  }

  testing::TempFolder folder_;
  std::filesystem::path file_ = folder_ / "graph.onnx";
};

TEST_F(OrtSessionTest, TheRuntimeSaysWhatItIs) {
  const auto runtime = OrtRuntime::open(FGDM_TEST_RUNTIME, 1);
  EXPECT_EQ(runtime->version().substr(0, 2), "1.");
  EXPECT_TRUE(runtime->built_in(Provider::cpu));
  EXPECT_EQ(runtime->providers().back(), Provider::cpu) << "the best comes first";
  EXPECT_STREQ(std::getenv("ORT_DISABLE_TELEMETRY"), "1");
}

TEST_F(OrtSessionTest, WithoutAPathTheVariableNamesTheLibrary) {
  ::setenv("FGDM_ONNXRUNTIME", "/absent/libonnxruntime.so", 1);
  expect_words(refusal<BackendError>([] { OrtRuntime::open({}, 1); }), {"/absent/libonnx"});
  EXPECT_NO_THROW(OrtRuntime::open(FGDM_TEST_RUNTIME, 1)) << "a path goes first";
  ::setenv("FGDM_ONNXRUNTIME", FGDM_TEST_RUNTIME, 1);
  EXPECT_NO_THROW(OrtRuntime::open({}, 1));
  ::unsetenv("FGDM_ONNXRUNTIME");
}

TEST(OrtLibrary, ThatIsAbsentOrAnotherIsABackendError) {
  expect_words(refusal<BackendError>([] { OrtRuntime::open("/absent/libonnxruntime.so", 1); }),
               {"/absent/libonnxruntime.so", "pip install onnxruntime", "FGDM_ONNXRUNTIME"});
  expect_words(refusal<BackendError>([] { OrtRuntime::open("libm.so.6", 1); }),
               {"libm.so.6 is not an ONNX Runtime library"});
}

TEST_F(OrtSessionTest, DeclaresNamesTypesAndDimensions) {
  OnnxGraph graph;
  const auto session = load(graph.input("ids", onnx_type(DType::int64), {-1, 16})
                                .input("unread", onnx_type(DType::boolean), {})
                                .node("Identity", {"ids"}, "same")
                                .output("same", onnx_type(DType::int64), {-1, 16})
                                .model());
  ASSERT_EQ(session->inputs().size(), 2U);
  EXPECT_EQ(session->inputs()[0].name, "ids");
  EXPECT_EQ(session->inputs()[0].dtype, DType::int64);
  EXPECT_EQ(session->inputs()[0].shape, (std::vector<std::int64_t>{-1, 16}));
  EXPECT_EQ(session->inputs()[1].dtype, DType::boolean);
  EXPECT_TRUE(session->inputs()[1].shape.empty());
  ASSERT_EQ(session->outputs().size(), 1U);
  EXPECT_EQ(session->outputs()[0].name, "same");
  EXPECT_EQ(session->padding(), 0);
}

TEST_F(OrtSessionTest, ComputesAnyNumberOfRowsInTheCallersMemory) {
  const auto session = load(sum_graph().model());
  for (const std::int64_t rows : {1, 7, 2}) {
    const auto size = static_cast<std::size_t>(3 * rows);
    std::vector<float> a(size), b(size, 0.5F), sum(size + 1, -1.0F), expected(size, 0.5F);
    std::iota(a.begin(), a.end(), 1.0F);
    for (std::size_t i = 0; i < size; ++i)
      expected[i] += a[i];
    expected.push_back(-1.0F);  // behind the output nothing is written
    run(*session, {{"b", view(b, {rows, 3})}, {"a", view(a, {rows, 3})}},
        {"sum", view(sum, {rows, 3})});
    EXPECT_EQ(sum, expected);
  }
}

// Of this process, in MB: what is in memory and of no file.
double anonymous_mb() {
  std::ifstream status("/proc/self/status");
  for (std::string word; status >> word;)
    if (word == "RssAnon:") {
      double kilobytes = 0;
      status >> kilobytes;
      return kilobytes / 1024;
    }
  return 0;
}

// A (2048, 2048) float16 weight takes 8 MB, its float32 16.
TEST_F(OrtSessionTest, WithLowMemoryALargeFloat16WeightStaysInItsFile) {
  constexpr std::int64_t size = 2048;
  std::vector<std::uint16_t> halves(size * size);
  for (std::size_t i = 0; i < halves.size(); ++i)
    halves[i] = static_cast<std::uint16_t>(0x2000U + i % 4099);  // around a hundredth
  std::ofstream(folder_ / "weights", std::ios::binary)
      .write(reinterpret_cast<const char*>(halves.data()),
             static_cast<std::streamsize>(2 * halves.size()));
  OnnxGraph graph;
  std::ofstream(file_, std::ios::binary)
      << graph.input("x", float32, {-1, size})
             .external("packed", DType::float16, {size, size}, "weights")
             .cast("packed", "weights")
             .node("MatMul", {"x", "weights"}, "y")
             .output("y", float32, {-1, size})
             .model();
  const auto runtime = OrtRuntime::open(FGDM_TEST_RUNTIME, 1);
  const auto loaded = [&](bool low_memory) {
    const double before = anonymous_mb();
    auto session = runtime->load(file_, Provider::cpu, {.low_memory = low_memory});
    const double taken = anonymous_mb() - before;
    std::vector<float> x(size, 1.0F), y(size);
    run(*session, {{"x", view(x, {1, size})}}, {"y", view(y, {1, size})});
    return std::pair(taken, y);
  };
  const auto [low, packed] = loaded(true);
  const auto [full, unpacked] = loaded(false);
  EXPECT_LT(low, 4);
  EXPECT_GT(full, 12);
  for (std::size_t i = 0; i < packed.size(); ++i)
    ASSERT_NEAR(packed[i], unpacked[i], 1e-4F * unpacked[i]) << i;
}

// A model in memory, whose weights are in memory too, next to each other in one file.
class InMemoryTest : public OrtSessionTest {
protected:
  // y = x W + b; the weights behind eight other bytes.
  OrtGraph graph(const std::string& file = "weights/all.bin") {
    OnnxGraph made;
    model_ = made.input("x", float32, {-1, 512})
                 .external("W", DType::float32, {512, 512}, file, 8, 4 * 512 * 512)
                 .external("b", DType::float32, {512}, file, 8 + 4 * 512 * 512, 4 * 512)
                 .node("MatMul", {"x", "W"}, "product")
                 .node("Add", {"product", "b"}, "y")
                 .output("y", float32, {-1, 512})
                 .model();
    weights_.assign(2 + 512 * 512 + 512, 0.0F);
    for (std::size_t i = 2; i < weights_.size(); ++i)
      weights_[i] = static_cast<float>(i % 251) / 64.0F;
    return {{},
            "archive/graph.onnx",
            {std::as_bytes(std::span(model_))},
            {{"weights/all.bin", {std::as_bytes(std::span(weights_))}}}};
  }

  static std::vector<float> product(Session& session) {
    std::vector<float> x(2 * 512), y(2 * 512);
    for (std::size_t i = 0; i < x.size(); ++i)
      x[i] = static_cast<float>(i % 7);
    run(session, {{"x", view(x, {2, 512})}}, {"y", view(y, {2, 512})});
    return y;
  }

  std::shared_ptr<OrtRuntime> runtime() { return OrtRuntime::open(FGDM_TEST_RUNTIME, 1); }

  std::string model_;
  std::vector<float> weights_;
};

TEST_F(InMemoryTest, ComputesWhatTheFilesCompute) {
  const auto from_memory = runtime()->load(graph(), Provider::cpu);
  std::filesystem::create_directory(folder_ / "weights");
  std::ofstream(folder_ / "weights/all.bin", std::ios::binary)
      .write(reinterpret_cast<const char*>(weights_.data()),
             static_cast<std::streamsize>(4 * weights_.size()));
  const auto from_files = load(model_);
  EXPECT_EQ(product(*from_memory), product(*from_files));
  EXPECT_NE(product(*from_memory)[5], 0.0F);
}

TEST_F(InMemoryTest, WeightsThatAreNotThereAreABundleErrorThatNamesThem) {
  const auto refused = [&](const OrtGraph& given) {
    return refusal<BundleError>([&] { runtime()->load(given, Provider::cpu); });
  };
  expect_words(refused(graph("other.bin")), {"archive/graph.onnx", "weight W", "\"other.bin\""});
  expect_words(refused(graph("../weights/all.bin")), {"\"../weights/all.bin\""});
  EXPECT_EQ(refused(graph("./weights/all.bin")), "");
  auto short_one = graph();
  short_one.weights.begin()->second.data = short_one.weights.begin()->second.data.first(4096);
  expect_words(refused(short_one), {"weight W", "beyond the end"});
}

TEST_F(InMemoryTest, WhatIsNoModelIsABackendErrorWithItsName) {
  for (const std::string model : {"no graph", "\x3a\x7f", ""}) {
    auto given = graph();
    given.model.data = std::as_bytes(std::span(model));
    expect_words(refusal<BackendError>([&] { runtime()->load(given, Provider::cpu); }),
                 {"loading archive/graph.onnx"});
  }
}

// As long as the session is there, and no longer.
TEST_F(InMemoryTest, TheOwnersOfItsBytesAreKeptByTheSession) {
  auto given = graph();
  auto owner = std::make_shared<int>(0);
  const std::weak_ptr<int> watched = owner;
  given.model.owner = owner;
  given.weights.begin()->second.owner = std::move(owner);
  auto session = runtime()->load(given, Provider::cpu);
  given = {};
  EXPECT_FALSE(watched.expired());
  product(*session);
  session.reset();
  EXPECT_TRUE(watched.expired());
}

// As WithLowMemoryALargeFloat16WeightStaysInItsFile has it of a file.
TEST_F(InMemoryTest, WithLowMemoryALargeFloat16WeightStaysWhereItLies) {
  constexpr std::int64_t size = 2048;
  std::vector<std::uint16_t> halves(size * size, 0x2345);
  OnnxGraph graph;
  const auto model = graph.input("x", float32, {-1, size})
                         .external("packed", DType::float16, {size, size}, "weights")
                         .cast("packed", "weights")
                         .node("MatMul", {"x", "weights"}, "y")
                         .output("y", float32, {-1, size})
                         .model();
  const OrtGraph given{{},
                       "graph.onnx",
                       {std::as_bytes(std::span(model))},
                       {{"weights", {std::as_bytes(std::span(halves))}}}};
  const auto opened = runtime();
  const double before = anonymous_mb();
  const auto session = opened->load(given, Provider::cpu, {.low_memory = true});
  return_freed_memory();  // what it was read with
  EXPECT_LT(anonymous_mb() - before, 4);
}

TEST_F(OrtSessionTest, TakesEveryType) {
  for (const auto dtype : {DType::float32, DType::float16, DType::bfloat16, DType::int64,
                           DType::int32, DType::uint8, DType::boolean}) {
    const int type = onnx_type(dtype);
    OnnxGraph graph;
    const auto session = load(graph.input("in", type, {-1})
                                  .node("Identity", {"in"}, "out")
                                  .output("out", type, {-1})
                                  .model());
    EXPECT_EQ(session->inputs()[0].dtype, dtype);
    std::vector<std::uint8_t> in(5 * dtype_size(dtype), 1), out(in.size());
    run(*session, {{"in", {dtype, {5}, in.data()}}}, {"out", {dtype, {5}, out.data()}});
    EXPECT_EQ(out, in) << dtype_name(dtype);
  }
}

TEST_F(OrtSessionTest, AnotherTypeIsRefusedByName) {
  OnnxGraph graph;
  graph.input("in", testing::onnx_double, {1})
      .node("Identity", {"in"}, "out")
      .output("out", testing::onnx_double, {1});
  expect_words(refusal<BackendError>([&] { load(graph.model()); }), {"tensor in", "type 11"});
}

TEST_F(OrtSessionTest, InputsThatTheGraphLacksArePassedOver) {
  const auto session = load(sum_graph().model());
  std::vector<float> one(3, 1.0F), sum(3);
  run(*session, {{"pruned", view(one, {3})}, {"a", view(one, {1, 3})}, {"b", view(one, {1, 3})}},
      {"sum", view(sum, {1, 3})});
  EXPECT_EQ(sum, std::vector<float>(3, 2.0F));
}

TEST_F(OrtSessionTest, WhatDoesNotFitIsABackendErrorAndTheNextCallWorks) {
  const auto session = load(sum_graph().model());
  std::vector<float> values(8, 1.0F), sum(8);
  std::vector<std::int64_t> integers(8, 1);
  const auto call = [&](std::vector<NamedTensor> inputs, NamedTensor output) {
    return refusal<BackendError>([&] { run(*session, inputs, output); });
  };
  const NamedTensor a{"a", view(values, {2, 3})}, b{"b", view(values, {2, 3})},
      out{"sum", view(sum, {2, 3})};
  const auto file = file_.filename().string();
  expect_words(call({{"a", view(values, {2, 4})}, b}, out), {"running", file.c_str(), "a"});
  expect_words(call({{"a", view(values, {6})}, b}, out), {"running", file.c_str(), "ank"});
  expect_words(call({{"a", {DType::int64, {2, 3}, integers.data()}}, b}, out), {"int64"});
  expect_words(call({a, b}, {"sum", view(sum, {1, 3})}), {file.c_str()});
  expect_words(call({a, b}, {"absent", view(sum, {2, 3})}), {"absent"});
  expect_words(call({a}, out), {"b"});
  EXPECT_EQ(call({a, b}, out), "");
  EXPECT_EQ(sum, (std::vector<float>{2, 2, 2, 2, 2, 2, 0, 0}));
}

TEST_F(OrtSessionTest, MemoryThatIsNotThereIsAnErrorOfItsOwn) {
  OnnxGraph graph;
  const auto session = load(graph.input("shape", onnx_type(DType::int64), {1})
                                .input("x", float32, {1})
                                .node("Expand", {"x", "shape"}, "large")
                                .node("ReduceSum", {"large"}, "sum")
                                .output("sum", float32, {1})
                                .model());
  std::vector<float> x{1.0F}, sum{0.0F};
  std::int64_t size = std::int64_t{1} << 48U;
  const auto reduce = [&] {
    run(*session, {{"shape", {DType::int64, {1}, &size}}, {"x", view(x, {1})}},
        {"sum", view(sum, {1})});
  };
  expect_words(refusal<OutOfMemoryError>(reduce), {"fewer candidates or a smaller picture"});
  size = 5;
  reduce();
  EXPECT_EQ(sum.front(), 5.0F);
}

TEST_F(OrtSessionTest, AFileThatIsNoGraphIsABackendErrorWithItsName) {
  const auto name = file_.filename().string();
  expect_words(refusal<BackendError>([&] { load("no graph"); }), {"loading", name.c_str()});
  const auto runtime = OrtRuntime::open(FGDM_TEST_RUNTIME, 1);
  const auto absent = [&] { runtime->load("/absent.onnx", Provider::cpu); };
  expect_words(refusal<BackendError>(absent), {"/absent.onnx"});
}

TEST_F(OrtSessionTest, HasAsManyThreadsAsWereAskedFor) {
  const auto model = sum_graph().model();
  load(model);  // whatever the library starts once
  for (const int threads : {1, 3}) {
    const int before = num_threads();
    {
      const auto session = load(model, threads);
      EXPECT_EQ(num_threads() - before, threads - 1) << "the caller's is one of them";
    }
    EXPECT_EQ(num_threads(), before);
  }
}

TEST_F(OrtSessionTest, OutlivesTheRuntimeItIsFrom) {
  const auto first = load(sum_graph().model()), second = load(sum_graph().model());
  std::vector<float> one(3, 1.0F), sum(3);
  for (const auto& session : {first.get(), second.get()})
    run(*session, {{"a", view(one, {1, 3})}, {"b", view(one, {1, 3})}}, {"sum", view(sum, {1, 3})});
  EXPECT_EQ(sum, std::vector<float>(3, 2.0F));
}

}  // namespace
}  // namespace fgdm
