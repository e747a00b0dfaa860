// Rows must come out as if every one had run alone, whatever bucket they were padded to or split
// into, and also when a run is replayed from a recorded graph. TensorRT and the driver are stood in
// for by ones on host memory.
#include "tensorrt_session.hpp"

#include <gtest/gtest.h>

#include <fstream>
#include <numeric>

#include "cuda_device.hpp"
#include "fake_kernels.hpp"
#include "fgdm/error.hpp"
#include "fgdm/sha256.hpp"
#include "row_buffer.hpp"
#include "temp_folder.hpp"

namespace fgdm {
namespace {

using testing::fake_cuda;

// Computes y = 3 x + scale for rows of two numbers, and tells what it saw.
class FakeContext final : public PlanContext {
public:
  FakeContext(std::size_t rows, std::size_t scratch, bool can_record, int& runs)
      : rows_(rows), scratch_(scratch), can_record_(can_record), runs_(runs) {}

  std::size_t scratch_bytes() const override { return scratch_; }
  void use_scratch(std::byte* memory, std::size_t bytes) override {
    EXPECT_NE(memory, nullptr);
    EXPECT_GE(bytes, scratch_);
  }
  void bind(const std::string& tensor, std::byte* memory) override { bound_[tensor] = memory; }
  void enqueue(cuda::Stream stream) override {
    if (fake_cuda().capturing && !can_record_)
      throw BackendError("running a plan: it can't be captured");
    const auto at = [&](const char* tensor) {
      return reinterpret_cast<float*>(testing::FarDevice::near(bound_.at(tensor)));
    };
    const float *const x = at("x"), *const scale = at("scale");
    float* const y = at("y");
    const float* const matrix = bound_.contains(lora_down) ? at(lora_down) : nullptr;
    fake_cuda().queue(stream, [this, x, scale, y, matrix] {
      ++runs_;
      for (std::size_t i = 0; i < 2 * rows_; ++i)
        y[i] = 3 * x[i] + scale[i / 2] + (matrix == nullptr ? 0 : matrix[5]);
    });
  }

private:
  std::size_t rows_, scratch_;
  bool can_record_;
  int& runs_;
  std::map<std::string, std::byte*> bound_;
};

class FakeEngine final : public PlanEngine {
public:
  FakeEngine(std::int64_t rows, bool can_record, bool takes_loras, int& runs, int& alive)
      : rows_(rows), can_record_(can_record), takes_loras_(takes_loras), runs_(runs),
        alive_(alive) {
    ++alive_;
  }
  ~FakeEngine() override { --alive_; }
  FakeEngine(const FakeEngine&) = delete;
  FakeEngine& operator=(const FakeEngine&) = delete;

  std::vector<EngineTensor> tensors(std::size_t) const override {
    std::vector<EngineTensor> all{{"y", DType::float32, {-1, 2}, false},  // in an order of its own
                                  {"scale", DType::float32, {rows_}, true},
                                  {"x", DType::float32, {rows_, 2}, true}};
    if (takes_loras_)
      all.push_back({lora_down, DType::float32, {6, 1}, true});
    return all;
  }
  std::unique_ptr<PlanContext> make_context(std::size_t, cuda::Stream) override {
    const auto rows = static_cast<std::size_t>(rows_);
    return std::make_unique<FakeContext>(rows, 1000 * rows, can_record_, runs_);
  }

private:
  std::int64_t rows_;
  bool can_record_, takes_loras_;
  int &runs_, &alive_;
};

// A plan's content is its number of rows.
class FakeRuntime final : public PlanRuntime {
public:
  std::string version() const override { return "10.3.0"; }
  void load_plugin(const std::filesystem::path&) override {}
  std::unique_ptr<PlanEngine> deserialise(std::span<const std::byte> plan) override {
    ++loaded;
    return std::make_unique<FakeEngine>(static_cast<std::int64_t>(plan[0]), can_record, takes_loras,
                                        runs, alive);
  }

  int loaded = 0, runs = 0, alive = 0;
  bool can_record = true, takes_loras = false;
};

class TensorRtSessionTest : public ::testing::Test {
protected:
  void SetUp() override {
    fake_cuda() = {};
    gpu_ = std::make_shared<cuda::Gpu>(testing::fake_driver());
  }

  Plan plan(int rows) {
    const auto file = folder_ / (std::to_string(rows) + ".plan");
    const std::array<char, 1> content{static_cast<char>(rows)};
    std::ofstream(file, std::ios::binary).write(content.data(), content.size());
    Plan made;
    made.file = file.filename();
    made.graph = "graph";
    made.profiles = {{0, 0, rows}};
    made.inputs = {{"x", {{rows, 2}}}, {"scale", {{rows}}}};
    made.outputs = {{"y", {{rows, 2}}}};
    made.uses_plugin = false;
    made.size = 1;
    made.sha256 = sha256_file(file);
    return made;
  }

  void use(std::vector<Plan> plans, cuda::Stream stream = nullptr) {
    backend_ = std::make_unique<TensorRtBackend>(gpu_, runtime_, folder_tree(folder_.path()),
                                                 std::move(plans), stream);
    const GraphSpec spec{"graph.onnx",
                         {{"x", DType::float32, {-1, 2}}, {"scale", DType::float32, {-1}}},
                         {{"y", DType::float32, {-1, 2}}}};
    session_ = backend_->load("graph", spec);
  }

  // Runs rows (x, x + 0.5) for x = start, start + 1, … and compares every number.
  void expect_run(std::size_t rows, float start = 0) {
    std::vector<float> x(2 * rows), scale(rows), y(2 * rows, -1);
    for (std::size_t i = 0; i < rows; ++i) {
      x[2 * i] = start + static_cast<float>(i);
      x[2 * i + 1] = x[2 * i] + 0.5F;
      scale[i] = 100.0F * static_cast<float>(i + 1);
    }
    const auto count = static_cast<std::int64_t>(rows);
    const std::array<NamedTensor, 2> inputs{{{"scale", {DType::float32, {count}, scale.data()}},
                                             {"x", {DType::float32, {count, 2}, x.data()}}}};
    const NamedTensor output{"y", {DType::float32, {count, 2}, y.data()}};
    session_->run(inputs, {&output, 1});
    for (std::size_t i = 0; i < y.size(); ++i)
      ASSERT_EQ(y[i], 3 * x[i] + scale[i / 2]) << "row " << i / 2 << " of " << rows;
  }

  testing::TempFolder folder_;
  std::shared_ptr<cuda::Gpu> gpu_;
  std::shared_ptr<FakeRuntime> runtime_ = std::make_shared<FakeRuntime>();
  std::unique_ptr<TensorRtBackend> backend_;
  std::unique_ptr<Session> session_;
};

TEST_F(TensorRtSessionTest, RowsArePaddedToTheirBucketAndSplitAtTheLargest) {
  use({plan(1), plan(4), plan(8)});
  for (const std::size_t rows : {1U, 2U, 3U, 4U, 5U, 8U, 9U, 21U})
    expect_run(rows, static_cast<float>(rows));
  EXPECT_EQ(session_->padding(), 2 + 1 + 3 + 3);  // of 2, 3, 5 and 21 = 8 + 8 + 5 rows
}

TEST_F(TensorRtSessionTest, RowsOnTheGpuStayThere) {
  use({plan(1), plan(4)});
  const std::shared_ptr<Device> device =
      std::make_shared<CudaDevice>(gpu_, backend_->stream(), testing::fake_kernels());
  for (const std::size_t rows : {1U, 3U, 4U, 6U}) {
    RowBuffer x(device, DType::float32, {2}, rows), scale(device, DType::float32, {}, rows),
        y(device, DType::float32, {2}, rows);
    std::vector<float> numbers(2 * rows);
    std::iota(numbers.begin(), numbers.end(), 1.0F);
    x.write(numbers);
    scale.write(std::span(numbers).first(rows));
    const std::array<NamedTensor, 2> inputs{{{"scale", scale.view(rows)}, {"x", x.view(rows)}}};
    const NamedTensor output{"y", y.view(rows)};
    session_->run(inputs, {&output, 1});
    const auto made = y.floats(rows);
    for (std::size_t i = 0; i < made.size(); ++i)
      ASSERT_EQ(made[i], 3 * numbers[i] + numbers[i / 2]) << "row " << i / 2 << " of " << rows;
  }
}

// Protects calls that want some of a graph's outputs only, from whichever memory.
TEST_F(TensorRtSessionTest, AnOutputThatNobodyWantsIsLeftThere) {
  use({plan(4)});
  float x[] = {1, 2, 3, 4}, scale[] = {5, 6};
  const std::array<NamedTensor, 2> inputs{
      {{"scale", {DType::float32, {2}, scale}}, {"x", {DType::float32, {2, 2}, x}}}};
  session_->run(inputs, {});
  EXPECT_EQ(runtime_->runs, 1);
  expect_run(2);
  EXPECT_THROW(session_->run(std::span(inputs).first(1), {}), BackendError);
}

TEST_F(TensorRtSessionTest, EnginesAreLoadedOnceAndOnlyWhenNeeded) {
  use({plan(1), plan(4), plan(8)});
  EXPECT_EQ(runtime_->loaded, 0);
  expect_run(3);
  expect_run(4);
  EXPECT_EQ(runtime_->loaded, 1);
}

TEST_F(TensorRtSessionTest, TheSecondRunIsRecordedAndLaterOnesAreReplayed) {
  use({plan(2)});
  expect_run(2, 10);
  EXPECT_EQ(fake_cuda().launches, 0);
  expect_run(2, 20);
  EXPECT_EQ(fake_cuda().graphs.size(), 1U);
  expect_run(2, 30);
  expect_run(1, 40);
  EXPECT_EQ(fake_cuda().graphs.size(), 1U);
  EXPECT_EQ(fake_cuda().launches, 3);
  EXPECT_EQ(runtime_->runs, 4);  // recording runs nothing
  EXPECT_EQ(backend_->recorded_graphs(), 1);
}

TEST_F(TensorRtSessionTest, AGraphIsRecordedAnewWhenItsMemoryHasMoved) {
  use({plan(2), plan(8)});
  expect_run(2);
  expect_run(2);
  ASSERT_EQ(fake_cuda().graphs.size(), 1U);
  expect_run(8);  // needs more of everything
  expect_run(2);
  expect_run(2);
  EXPECT_EQ(fake_cuda().graphs.size(), 2U);
}

TEST_F(TensorRtSessionTest, WhatCannotBeRecordedRunsAsItIs) {
  runtime_->can_record = false;
  fake_cuda().can_capture = false;
  use({plan(2)});
  for (int i = 0; i < 3; ++i)
    expect_run(2, static_cast<float>(i));
  EXPECT_EQ(fake_cuda().launches, 0);
  EXPECT_EQ(backend_->recorded_graphs(), 0);
}

// Protects a caller's other work on that stream from being recorded with ours.
TEST_F(TensorRtSessionTest, ACallersStreamIsUsedAndNotRecorded) {
  const auto callers = reinterpret_cast<cuda::Stream>(0x7000);
  use({plan(2)}, callers);
  for (int i = 0; i < 3; ++i)
    expect_run(2, static_cast<float>(i));
  EXPECT_EQ(backend_->recorded_graphs(), 0);
  EXPECT_TRUE(fake_cuda().graphs.empty());
  EXPECT_EQ(fake_cuda().pending.size(), 1U);
  EXPECT_TRUE(fake_cuda().pending.contains(callers));
  session_.reset();
  backend_.reset();
  EXPECT_EQ(fake_cuda().destroyed_streams, 0);
}

TEST_F(TensorRtSessionTest, AStreamOfAnotherGpuIsRefused) {
  const auto stream = reinterpret_cast<cuda::Stream>(0x7000);
  fake_cuda().others = {stream};
  EXPECT_THROW(use({plan(2)}, stream), RequestError);
  fake_cuda().others = {};
  fake_cuda().green = {stream};
  EXPECT_NO_THROW(use({plan(2)}, stream));
}

TEST_F(TensorRtSessionTest, AGraphThatCannotBeLaunchedGivesWay) {
  use({plan(2)});
  expect_run(2, 10);
  fake_cuda().can_launch = false;
  expect_run(2, 20);
  fake_cuda().can_launch = true;
  expect_run(2, 30);
  EXPECT_EQ(fake_cuda().launches, 0);
}

TEST_F(TensorRtSessionTest, APlanThatFoundNoMemoryIsNotKept) {
  use({plan(1), plan(8)});
  expect_run(1);
  fake_cuda().most_bytes = 4000;  // eight rows want 8000 for scratch alone
  EXPECT_THROW(expect_run(8), OutOfMemoryError);
  EXPECT_EQ(runtime_->alive, 1);
  expect_run(1, 5);
  fake_cuda().most_bytes = 1U << 30U;
  expect_run(8);
  EXPECT_EQ(runtime_->loaded, 3);
}

TEST_F(TensorRtSessionTest, ContextsShareOneScratchAndNothingLeaks) {
  use({plan(2), plan(8)});
  expect_run(2);
  expect_run(8);
  EXPECT_EQ(backend_->scratch_bytes(), 8000U);
  EXPECT_EQ(fake_cuda().memory.size(), 3U);  // scratch, tensors, staging
  session_.reset();
  backend_.reset();
  EXPECT_TRUE(fake_cuda().memory.empty());
}

TEST_F(TensorRtSessionTest, ShapesWithoutAPlanAreNamed) {
  use({plan(2)});
  std::array<float, 3> x{};
  float scale = 0, y = 0;
  const std::array<NamedTensor, 2> inputs{
      {{"x", {DType::float32, {1, 3}, x.data()}}, {"scale", {DType::float32, {1}, &scale}}}};
  const NamedTensor output{"y", {DType::float32, {1, 2}, &y}};
  try {
    session_->run(inputs, {&output, 1});
    FAIL();
  } catch (const BackendError& error) {
    EXPECT_NE(std::string(error.what()).find("x (1x3)"), std::string::npos) << error.what();
  }
  EXPECT_THROW(backend_->load("other", {}), BackendError);
}

TEST_F(TensorRtSessionTest, AllRowsOfAllBatchesSeeTheWholeMatrixOfALora) {
  auto with_matrix = plan(2);
  with_matrix.inputs.push_back({lora_down, {{6, 1}}});
  runtime_->takes_loras = true;
  use({with_matrix});
  std::array<float, 6> matrix{1, 2, 3, 4, 5, 1000};
  std::array<float, 5> scale{10, 20, 30, 40, 50};
  std::array<float, 10> x{}, y{};
  const std::array<NamedTensor, 3> inputs{{{"x", {DType::float32, {5, 2}, x.data()}},
                                           {"scale", {DType::float32, {5}, scale.data()}},
                                           {lora_down, {DType::float32, {6, 1}, matrix.data()}}}};
  const NamedTensor output{"y", {DType::float32, {5, 2}, y.data()}};
  session_->run(inputs, {&output, 1});
  for (std::size_t i = 0; i < y.size(); ++i)
    EXPECT_EQ(y[i], scale[i / 2] + 1000) << i;
}

TEST_F(TensorRtSessionTest, ADamagedPlanIsNotLoaded) {
  auto damaged = plan(2);
  damaged.sha256.front() = damaged.sha256.front() == '0' ? '1' : '0';
  use({damaged});
  EXPECT_THROW(expect_run(1), BundleError);
}

TEST_F(TensorRtSessionTest, TooLittleMemoryIsThatError) {
  use({plan(2)});
  fake_cuda().most_bytes = 100;
  EXPECT_THROW(expect_run(1), OutOfMemoryError);
}

TEST(Staging, WholeNumbersAreNarrowedAndRefusedWhereTheyDoNotFit) {
  const Slot slot{"input_ids", DType::int32, 0, 8, true};
  std::array<std::int64_t, 4> ids{1, -2, 49407, 3};
  std::array<std::int32_t, 8> staged{};
  const TensorView view{DType::int64, {2, 2}, ids.data()};
  stage(slot, view, 0, 2, 4, reinterpret_cast<std::byte*>(staged.data()));
  EXPECT_EQ(staged, (std::array<std::int32_t, 8>{1, -2, 49407, 3, 49407, 3, 49407, 3}));
  ids[1] = std::int64_t{1} << 31U;
  EXPECT_THROW(stage(slot, view, 0, 2, 4, reinterpret_cast<std::byte*>(staged.data())),
               BackendError);
}

TEST(Staging, OtherTypesAreRefused) {
  const Slot slot{"x", DType::float16, 0, 2, true};
  float value = 0;
  std::array<std::byte, 8> staged{};
  const TensorView view{DType::float32, {1, 1}, &value};
  EXPECT_THROW(stage(slot, view, 0, 1, 1, staged.data()), BackendError);
  EXPECT_THROW(unstage(slot, staged.data(), view, 0, 1), BackendError);
}

TEST(CudaDevice, TheCallersContextComesBack) {
  const auto before = reinterpret_cast<cuda::Context>(&fake_cuda().launches);
  testing::fake_context() = before;
  {
    const cuda::CallersContext kept(&testing::fake_driver());
    const cuda::Gpu gpu(testing::fake_driver());
    EXPECT_NE(testing::fake_context(), before);
  }
  EXPECT_EQ(testing::fake_context(), before);
}

TEST(CudaDevice, NamesItsArchitectureAsPlansDo) {
  const cuda::Gpu device(testing::fake_driver());
  EXPECT_EQ(device.architecture(), "sm_89");
  EXPECT_THROW(cuda::Gpu(testing::fake_driver(), 1), BackendError);
}

}  // namespace
}  // namespace fgdm
