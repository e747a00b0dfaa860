// What a GPU computes between graphs must be what the host does, and the host must never touch its
// memory: the driver is stood in for by one whose addresses belong to nobody.
#include "cuda_device.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>

#include "fake_kernels.hpp"
#include "fgdm/error.hpp"
#include "row_buffer.hpp"
#include "scheduler_fixture.hpp"

namespace fgdm {
namespace {

using testing::fake_cuda;
using testing::scenes;

class CudaDeviceTest : public ::testing::Test {
protected:
  void SetUp() override {
    fake_cuda() = {};
    gpu_ = std::make_shared<cuda::Gpu>(testing::fake_driver());
    device_ = std::make_shared<CudaDevice>(gpu_, std::make_shared<cuda::WorkStream>(gpu_),
                                           testing::fake_kernels());
  }

  std::shared_ptr<cuda::Gpu> gpu_;
  std::shared_ptr<Device> device_;
};

std::vector<float> numbers(std::size_t count, unsigned seed, float spread = 1.0F) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0.0F, spread);
  std::vector<float> values(count);
  for (float& value : values)
    value = normal(random);
  return values;
}

RowBuffer rows(const std::shared_ptr<Device>& device, std::int64_t elements,
               const std::vector<float>& values) {
  RowBuffer buffer(device, DType::float32, {elements},
                   values.size() / static_cast<std::size_t>(elements));
  buffer.write(values);
  return buffer;
}

void expect_the_hosts_steps(const std::shared_ptr<Device>& there) {
  constexpr std::size_t elements = 16;
  const Sampler ddim(SamplerKind::ddim, {}, 20), solver(SamplerKind::dpmsolver_multistep, {}, 10);
  const std::vector<StepRow> steps{{0, 3, 7.5F, ddim.coefficients(4)},
                                   {1, -1, 1.0F, solver.coefficients(9)},
                                   {2, 4, 3.5F, solver.coefficients(5)}};
  const auto advanced = [&](const std::shared_ptr<Device>& device) {
    auto noise = numbers(5 * elements, 1);
    noise[elements + 2] = std::numeric_limits<float>::infinity();
    const auto predicted = rows(device, elements, noise);
    const auto sample = rows(device, elements, numbers(3 * elements, 2));
    const auto x0 = rows(device, elements, numbers(3 * elements, 3));
    const auto finite =
        device->guided_step(steps, elements, predicted.data(), sample.data(), x0.data());
    EXPECT_EQ(finite, (std::vector<bool>{true, false, true}));
    auto made = sample.floats(3);
    const auto clean = x0.floats(3);
    made.insert(made.end(), clean.begin(), clean.end());
    return made;
  };
  const auto expected = advanced(host_device()), made = advanced(there);
  for (std::size_t i = 0; i < expected.size(); ++i) {
    if (std::isfinite(expected[i])) {
      EXPECT_NEAR(made[i], expected[i], 1e-5F * (1 + std::abs(expected[i]))) << i;
    }
  }
}

void expect_the_hosts_labels(const std::shared_ptr<Device>& there) {
  constexpr int side = 16;
  const auto& palette = scenes().palette("palette.json");
  auto pictures = numbers(2 * 3 * side * side, 4);
  pictures[7] = std::numeric_limits<float>::quiet_NaN();
  const auto labelled = [&](const std::shared_ptr<Device>& device) {
    const auto buffer = rows(device, 3 * side * side, pictures);
    return device->label(palette, buffer.data(), 2, side, side);
  };
  const auto expected = labelled(host_device()), made = labelled(there);
  EXPECT_EQ(made.labels, expected.labels);
  EXPECT_EQ(made.snapped, expected.snapped);
  EXPECT_NE(expected.labels, expected.snapped) << "some pixels lie near no colour";
}

void expect_rows_to_move_and_add(const std::shared_ptr<Device>& device) {
  auto buffer = rows(device, 4, {1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 9});
  buffer.copy_row(buffer, 0, 2);
  buffer.clear_row(1);
  EXPECT_EQ(buffer.floats(3), (std::vector<float>{1, 2, 3, 4, 0, 0, 0, 0, 1, 2, 3, 4}));
  auto other = rows(device, 4, {9, 9, 9, 9, 10, 20, 30, 40, 50, 60, 70, 80});
  auto total = rows(device, 4, {7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7});
  const std::array<RowBuffer*, 2> terms{&buffer, &other};
  total.sum(terms, 2, 1);
  EXPECT_EQ(total.floats(3), (std::vector<float>{7, 7, 7, 7, 10, 20, 30, 40, 51, 62, 73, 84}));
}

TEST_F(CudaDeviceTest, TakesTheHostsSteps) {
  expect_the_hosts_steps(device_);
}

TEST_F(CudaDeviceTest, LabelsPicturesAsTheHostDoes) {
  expect_the_hosts_labels(device_);
}

TEST_F(CudaDeviceTest, MovesAndAddsRows) {
  expect_rows_to_move_and_add(device_);
}

// The same with this machine's driver and the kernels that FGDM_KERNELS names: make gpu-check.
TEST(CudaDeviceOnACard, DoesWhatTheHostDoes) {
  std::shared_ptr<Device> device;
  try {
    const auto gpu = std::make_shared<cuda::Gpu>(cuda::driver());
    device =
        std::make_shared<CudaDevice>(gpu, std::make_shared<cuda::WorkStream>(gpu), cuda::kernels());
  } catch (const BackendError& error) {
    GTEST_SKIP() << error.what();
  }
  expect_the_hosts_steps(device);
  expect_the_hosts_labels(device);
  expect_rows_to_move_and_add(device);
}

TEST_F(CudaDeviceTest, ReleasedMemoryIsUsedAgainAndGivenBackInNeed) {
  {
    const RowBuffer first(device_, DType::float32, {4}, 1);
  }
  EXPECT_EQ(fake_cuda().memory.size(), 1U);
  auto again = rows(device_, 4, {1, 2, 3, 4});
  EXPECT_EQ(fake_cuda().memory.size(), 1U);
  again = RowBuffer(device_, DType::float32, {4}, 1);
  EXPECT_EQ(again.floats(1), (std::vector<float>{0, 0, 0, 0})) << "it comes back as zeros";

  fake_cuda().most_bytes = 100;
  {
    const RowBuffer needed(device_, DType::float32, {20}, 1);  // only without the spare one
  }
  EXPECT_THROW(RowBuffer(device_, DType::float32, {400}, 1), OutOfMemoryError);
  EXPECT_EQ(fake_cuda().memory.size(), 1U) << "what nobody used went first";
  again = {};
  EXPECT_EQ(fake_cuda().memory.size(), 1U);
  device_->trim();
  EXPECT_TRUE(fake_cuda().memory.empty());
  device_.reset();
  EXPECT_TRUE(fake_cuda().memory.empty());
}

TEST_F(CudaDeviceTest, KernelsThatThisGpuCannotRunAreFoundBeforeTheyAreNeeded) {
  EXPECT_NO_THROW(try_kernels(device_));
  auto for_another_gpu = testing::fake_kernels();
  for_another_gpu.accumulate = [](fgdm_dtype, long long, void*, const void*, fgdm_stream) {
    return 209;  // cudaErrorNoKernelImageForDevice
  };
  try {
    try_kernels(std::make_shared<CudaDevice>(gpu_, std::make_shared<cuda::WorkStream>(gpu_),
                                             for_another_gpu));
    FAIL();
  } catch (const BackendError& error) {
    EXPECT_NE(std::string(error.what()).find("CUDA error 209"), std::string::npos) << error.what();
  }
}

TEST_F(CudaDeviceTest, WithoutKernelsRowsStayOnTheHostAndItIsSaid) {
  try {
    cuda::kernels();
    GTEST_SKIP() << "this machine has fgdm's CUDA kernels";
  } catch (const BackendError&) {
    // as it should be here
  }
  std::vector<std::string> notes;
  const auto device = rows_on(gpu_, std::make_shared<cuda::WorkStream>(gpu_), notes);
  EXPECT_EQ(device->place(), Place::host);
  ASSERT_EQ(notes.size(), 1U);
  EXPECT_NE(notes[0].find("FGDM_KERNELS"), std::string::npos) << notes[0];
}

TEST_F(CudaDeviceTest, GeneratesWhatTheHostDoes) {
  auto request = testing::small_request(7, 4);
  request.prune = {2};
  const auto generated = [&](const std::shared_ptr<Device>& device) {
    auto graphs = testing::fake_graphs(scenes().manifest(), {}, {}, device);
    Scheduler scheduler(scenes(), graphs, {}, {});
    const auto job = testing::submit(scheduler, request);
    EXPECT_TRUE(testing::wait_for(*job));
    return job->result;
  };
  testing::expect_equal(generated(device_), generated(host_device()));
}

}  // namespace
}  // namespace fgdm
