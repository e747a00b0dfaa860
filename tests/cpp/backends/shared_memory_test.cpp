// Memory that an engine's device shares with others: it is freed once, by the last, whatever became
// of the device, and no stream reads what another hasn't written yet.
#include <limits>
#include <thread>

#include <gtest/gtest.h>

#include "cuda_device.hpp"
#include "fake_kernels.hpp"
#include "fgdm/error.hpp"
#include "fgdm/palette.hpp"
#include "row_buffer.hpp"

namespace fgdm::shared_memory_test {
namespace {

using testing::fake_context;
using testing::fake_cuda;
using testing::fake_driver;

class SharedMemoryOnAGpu : public ::testing::Test {
protected:
  void SetUp() override {
    fake_cuda() = {};
    const auto gpu = std::make_shared<cuda::Gpu>(fake_driver());
    device_ = std::make_shared<CudaDevice>(gpu, std::make_shared<cuda::WorkStream>(gpu),
                                           testing::fake_kernels());
  }

  // Numbers that the device's stream is still to write.
  std::shared_ptr<const SharedMemory> given(const std::vector<float>& numbers) {
    RowBuffer source(device_, DType::float32, {static_cast<std::int64_t>(numbers.size())}, 1);
    source.write(numbers);
    RowBuffer queued(source);
    return std::move(queued).give({static_cast<std::int64_t>(numbers.size())}).memory;
  }

  static float first(const SharedMemory& memory) {
    return *reinterpret_cast<float*>(testing::FarDevice::near(memory.data()));
  }

  std::shared_ptr<Device> device_;
};

// A stream of a consumer's or a producer's own.
struct OtherStream {
  OtherStream() { fake_driver().stream_create(&stream, 0); }
  template <typename Work> void queue(Work work) const { fake_cuda().queue(stream, work); }
  void synchronize() const { fake_driver().stream_synchronize(stream); }
  cuda::Stream stream = nullptr;
};

TEST_F(SharedMemoryOnAGpu, AConsumersStreamWaitsUntilItIsWritten) {
  const auto memory = given({7});
  for (void* const handle : {reinterpret_cast<void*>(1), reinterpret_cast<void*>(2)}) {
    auto* const stream = static_cast<cuda::Stream>(handle);  // CUDA's default streams
    const auto here = given({5});
    float seen = 0;
    here->wait_on(stream);
    fake_cuda().queue(stream, [&] { seen = first(*here); });
    fake_driver().stream_synchronize(stream);
    EXPECT_EQ(seen, 5.0F);
  }
  const auto other = given({7});
  const OtherStream consumer;
  float early = 0, seen = 0;
  consumer.queue([&] { early = first(*other); });
  other->wait_on(consumer.stream);
  consumer.queue([&] { seen = first(*other); });
  consumer.synchronize();
  EXPECT_NE(early, 7.0F) << "the test is none: it was written all the time";
  EXPECT_EQ(seen, 7.0F);
}

TEST_F(SharedMemoryOnAGpu, TheDeviceWaitsForWhatAProducersStreamWrites) {
  const auto exchange = device_->exchange();
  EXPECT_EQ(exchange.gpu, 0);
  const auto foreign = given({0, 0});
  device_->finish();
  const OtherStream producer;
  producer.queue([&] {
    auto* const numbers = reinterpret_cast<float*>(testing::FarDevice::near(foreign->data()));
    numbers[0] = 3;
    numbers[1] = 4;
  });
  // What a producer does in __dlpack__(stream=...).
  cuda::Event written = nullptr;
  fake_driver().event_create(&written, 0);
  fake_driver().event_record(written, producer.stream);
  fake_driver().stream_wait_event(static_cast<cuda::Stream>(exchange.stream), written, 0);
  fake_driver().event_destroy(written);

  int released = 0;
  const std::shared_ptr<void> owner(&released, [](int* times) { ++*times; });
  auto adopted = device_->adopt(foreign->data(), 2 * sizeof(float), owner);
  const RowBuffer copy(device_, DType::float32, {2}, 1);
  device_->await(*adopted);
  device_->copy(copy.data(), adopted->data(), 2 * sizeof(float));
  EXPECT_EQ(copy.floats(1), (std::vector<float>{3, 4}));
  EXPECT_EQ(owner.use_count(), 2);
  adopted.reset();
  EXPECT_EQ(owner.use_count(), 1) << "it is the producer's again";
  EXPECT_EQ(released, 0);
}

TEST_F(SharedMemoryOnAGpu, IsFreedOnceByTheLastOnAnyThreadAfterTheDevice) {
  auto memory = given({1, 2, 3});
  auto other = memory;
  device_.reset();
  EXPECT_EQ(fake_cuda().memory.size(), 1U) << "what was given away stays";
  std::thread([&] {
    const auto own = reinterpret_cast<cuda::Context>(&memory);
    fake_context() = own;
    std::vector<float> numbers(3);
    memory->read(numbers.data());
    EXPECT_EQ(numbers, (std::vector<float>{1, 2, 3}));
    memory.reset();
    EXPECT_EQ(fake_cuda().memory.size(), 1U);
    other.reset();
    EXPECT_EQ(fake_context(), own) << "the thread's own GPU is current again";
  }).join();
  EXPECT_TRUE(fake_cuda().memory.empty());
  EXPECT_TRUE(fake_cuda().events.empty());
}

TEST_F(SharedMemoryOnAGpu, ACopyIsOtherMemoryWithTheSameContent) {
  auto memory = given({8, 9});
  const auto copy = memory->copied();
  EXPECT_NE(copy->data(), memory->data());
  memory.reset();
  std::vector<float> numbers(2);
  copy->read(numbers.data());
  EXPECT_EQ(numbers, (std::vector<float>{8, 9}));
}

TEST_F(SharedMemoryOnAGpu, WithoutMemoryForTheEventNothingLeaks) {
  auto failing = fake_driver();
  failing.event_create = [](cuda::Event*, unsigned) -> cuda::Result { return cuda::out_of_memory; };
  const auto gpu = std::make_shared<cuda::Gpu>(failing);
  const auto device = std::make_shared<CudaDevice>(gpu, std::make_shared<cuda::WorkStream>(gpu),
                                                   testing::fake_kernels());
  RowBuffer rows(device, DType::uint8, {16}, 1);
  EXPECT_THROW(std::move(rows).give({16}), OutOfMemoryError);
  EXPECT_TRUE(fake_cuda().memory.empty());
}

void expect_the_hosts_pictures(const std::shared_ptr<Device>& device) {
  constexpr int height = 8, width = 12;
  constexpr std::size_t pixels = height * width;
  std::vector<std::uint8_t> given(3 * pixels), anew(pixels), expected(3 * pixels);
  for (std::size_t i = 0; i < given.size(); ++i)
    given[i] = static_cast<std::uint8_t>(7 * i);
  for (std::size_t i = 0; i < pixels; ++i)
    anew[i] = i % 3 == 0 ? 1 : 0;
  const auto uploaded = [&](const std::vector<std::uint8_t>& bytes) {
    RowBuffer buffer(device, DType::uint8, {static_cast<std::int64_t>(bytes.size())}, 1);
    buffer.write(bytes);
    return buffer;
  };
  const auto rgb = uploaded(given), mask = uploaded(anew);
  RowBuffer planes(device, DType::float32, {3, height, width}, 1);
  device->spread(rgb.data(), height, width, Levels::unit, planes.data());
  EXPECT_EQ(planes.floats(1)[pixels + 5], static_cast<float>(given[3 * 5 + 1]) / 255.0F);
  device->spread(rgb.data(), height, width, Levels::centred, planes.data());

  auto numbers = planes.floats(1);
  for (auto& number : numbers)
    number *= -1.5F;
  planes.write(numbers);
  image_to_rgb(numbers, height, width, expected);
  for (std::size_t i = 0; i < expected.size(); ++i)
    if (anew[i / 3] == 0)
      expected[i] = given[i];
  const auto painted = uploaded(std::vector<std::uint8_t>(3 * pixels));
  const KeptPixels kept{rgb.data(), mask.data()};
  EXPECT_TRUE(device->paint(planes.data(), height, width, kept, painted.data()));
  std::vector<std::uint8_t> made(3 * pixels);
  device->download(made.data(), painted.data(), made.size());
  EXPECT_EQ(made, expected);

  numbers[17] = std::numeric_limits<float>::infinity();
  planes.write(numbers);
  EXPECT_FALSE(device->paint(planes.data(), height, width, {}, painted.data()));
}

TEST_F(SharedMemoryOnAGpu, PicturesAreSpreadAndPaintedAsTheHostDoes) {
  expect_the_hosts_pictures(host_device());
  expect_the_hosts_pictures(device_);
}

// The same with this machine's driver and the kernels that FGDM_KERNELS names: make gpu-check.
TEST(SharedMemoryOnACard, IsWrittenReadCopiedAndFreed) {
  std::shared_ptr<Device> device;
  try {
    const auto gpu = std::make_shared<cuda::Gpu>(cuda::driver());
    device =
        std::make_shared<CudaDevice>(gpu, std::make_shared<cuda::WorkStream>(gpu), cuda::kernels());
  } catch (const BackendError& error) {
    GTEST_SKIP() << error.what();
  }
  expect_the_hosts_pictures(device);
  RowBuffer rows(device, DType::float32, {3}, 1);
  rows.write(std::vector<float>{1, 2, 3});
  auto memory = std::move(rows).give({3}).memory;
  memory->wait_on(reinterpret_cast<void*>(1));
  memory->wait_on(reinterpret_cast<void*>(2));
  auto copy = memory->copied();
  auto adopted =
      device->adopt(copy->data(), 3 * sizeof(float), std::const_pointer_cast<SharedMemory>(copy));
  device->await(*adopted);
  memory.reset();
  copy.reset();
  device.reset();
  std::vector<float> numbers(3);
  std::thread([&] { adopted->read(numbers.data()); }).join();
  EXPECT_EQ(numbers, (std::vector<float>{1, 2, 3}));
}

}  // namespace
}  // namespace fgdm::shared_memory_test
