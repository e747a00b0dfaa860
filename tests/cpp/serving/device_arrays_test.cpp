// Requests whose pictures and latents lie on the device, and results that stay there: the same
// pictures as through the host, which no picture crosses.
#include <limits>
#include <numeric>

#include "chain_bundle.hpp"
#include "cuda_device.hpp"
#include "fake_kernels.hpp"
#include "fgdm/error.hpp"
#include "refusal.hpp"
#include "scheduler_fixture.hpp"

namespace fgdm::device_arrays_test {
namespace {

using testing::fake_cuda;
using testing::fake_graphs;
using testing::FarDevice;
using testing::scenes;
using testing::small_request;
using testing::submit;
using testing::wait_for;

constexpr std::size_t pixels = 64 * 64;

// The image alone, whose ControlNet sees a control image that the request brings.
const Bundle& painted_from_a_control_image() {
  static const auto bundle = [] {
    testing::BundleFolder folder;
    auto manifest = folder.manifest();
    manifest["factors"] = nlohmann::json::array({manifest["factors"][1]});
    for (const auto& [name, graph] : manifest["graphs"].items())
      folder.add(graph.at("file").get<std::string>(), "x");
    manifest["files"] = folder.manifest()["files"];
    folder.save(manifest.dump());
    return Bundle::open(folder.path());
  }();
  return bundle;
}

enum class Kind { host, far, cuda };

class DeviceArrays : public ::testing::TestWithParam<Kind> {
protected:
  void SetUp() override {
    fake_cuda() = {};
    if (GetParam() == Kind::host) {
      device_ = host_device();
    } else if (GetParam() == Kind::far) {
      device_ = std::make_shared<FarDevice>();
    } else {
      const auto gpu = std::make_shared<cuda::Gpu>(testing::fake_driver());
      device_ = std::make_shared<CudaDevice>(gpu, std::make_shared<cuda::WorkStream>(gpu),
                                             testing::fake_kernels());
    }
  }

  // An array of the test's own on the device; `owner_` knows who has it.
  template <typename T>
  DeviceArray on_device(DType dtype, std::vector<std::int64_t> shape,
                        const std::vector<T>& values) {
    const auto bytes = values.size() * sizeof(T);
    auto* const memory = device_->allocate(bytes);
    device_->upload(memory, values.data(), bytes);
    owner_ = {memory,
              [device = device_.get(), bytes](std::byte* ours) { device->release(ours, bytes); }};
    return {dtype, std::move(shape), device_->adopt(memory, bytes, owner_)};
  }
  DeviceArray on_device(const Pixels& picture) {
    return on_device(DType::uint8, {picture.height, picture.width, 3}, picture.data);
  }

  std::shared_ptr<JobState> run(const Request& request, const Bundle& bundle = scenes()) {
    auto graphs = fake_graphs(bundle.manifest(), {}, {}, device_);
    Scheduler scheduler(bundle, graphs, {}, {});
    auto job = submit(scheduler, request, {}, bundle);
    wait_for(*job);
    return job;
  }

  static Pixels read(const DeviceArray& array) {
    Pixels picture{static_cast<int>(array.shape.at(0)), static_cast<int>(array.shape.at(1)),
                   std::vector<std::uint8_t>(array.bytes())};
    array.memory->read(picture.data.data());
    return picture;
  }

  // Copies of so many bytes from the device to the host.
  std::ptrdiff_t crossings(std::size_t bytes) const {
    return std::ranges::count(fake_cuda().downloads, bytes);
  }

  std::shared_ptr<Device> device_;
  std::shared_ptr<void> owner_;
};

Pixels test_picture() {
  Pixels picture{64, 64, std::vector<std::uint8_t>(3 * pixels)};
  for (std::size_t i = 0; i < picture.data.size(); ++i)
    picture.data[i] = static_cast<std::uint8_t>(i * 31 / 7);
  return picture;
}

Pixels test_mask() {
  Pixels mask{64, 64, std::vector<std::uint8_t>(pixels)};
  std::fill_n(mask.data.begin(), pixels / 3, std::uint8_t{1});
  return mask;
}

std::vector<float> test_latents(std::size_t rows) {
  std::vector<float> latents(rows * 4 * 16 * 16);
  std::iota(latents.begin(), latents.end(), -3.0F);
  for (auto& value : latents)
    value = std::sin(value);
  return latents;
}

TEST_P(DeviceArrays, APictureThatStaysIsTheHosts) {
  auto request = small_request(5);
  const auto there = run(request);
  const auto crossed = crossings(3 * pixels * sizeof(float));
  fake_cuda().downloads.clear();
  request.keep_on_device = true;
  const auto stayed = run(request);
  ASSERT_FALSE(stayed->error);
  EXPECT_TRUE(stayed->result.image.data.empty());
  const auto& image = stayed->result.image_on_device;
  EXPECT_EQ(image.shape, (std::vector<std::int64_t>{64, 64, 3}));
  EXPECT_EQ(image.memory->gpu(), device_->exchange().gpu);
  EXPECT_EQ(read(image).data, there->result.image.data);
  EXPECT_EQ(stayed->result.latents_on_device.shape, (std::vector<std::int64_t>{1, 4, 16, 16}));
  EXPECT_EQ(stayed->result.latents_on_device.dtype, DType::float32);
  EXPECT_FALSE(there->result.image_on_device);
  EXPECT_FALSE(there->result.latents_on_device) << "nothing is kept that nobody asked for";
  if (GetParam() == Kind::cuda) {
    EXPECT_EQ(crossed, 1);
    EXPECT_EQ(crossings(3 * pixels * sizeof(float)), 0) << "the picture crossed to the host";
  }
}

TEST_P(DeviceArrays, WhatStaysOutlivesSchedulerGraphsAndDevice) {
  auto request = small_request(6, 1);
  request.keep_on_device = true;
  auto job = run(request);
  auto image = job->result.image_on_device, latents = job->result.latents_on_device;
  job.reset();
  const auto before = read(image);
  if (auto* far = dynamic_cast<FarDevice*>(device_.get())) {
    EXPECT_EQ(far->bytes(), image.bytes() + latents.bytes()) << "and nothing else does";
  }
  device_.reset();
  EXPECT_EQ(read(image).data, before.data);
  if (GetParam() == Kind::cuda) {
    EXPECT_EQ(fake_cuda().memory.size(), 2U);
  }
  image = {};
  latents = {};
  EXPECT_TRUE(fake_cuda().memory.empty());
}

TEST_P(DeviceArrays, ControlImagesOnTheDeviceAreThoseOfTheHost) {
  const auto& bundle = painted_from_a_control_image();
  auto request = small_request(7);
  request.control_images["segmentation"] = test_picture();
  const auto expected = run(request, bundle);
  ASSERT_FALSE(expected->error);
  request.control_images.clear();
  request.control_images_on_device["segmentation"] = on_device(test_picture());
  const auto job = run(request, bundle);
  ASSERT_FALSE(job->error);
  EXPECT_EQ(job->result.image.data, expected->result.image.data);
  request.control_images_on_device.clear();
  EXPECT_EQ(owner_.use_count(), 1) << "the job and its result have let go of it";
}

TEST_P(DeviceArrays, ImagesOnTheDeviceAreThoseOfTheHost) {
  for (const bool masked : {false, true})
    for (const bool keep : {false, true}) {
      SCOPED_TRACE(std::to_string(masked) + std::to_string(keep));
      auto request = small_request(8);
      request.image = test_picture();
      request.strength = 0.75;
      if (masked)
        request.mask = test_mask();
      const auto expected = run(request);
      ASSERT_FALSE(expected->error);
      request.image = {};
      request.image_on_device = on_device(test_picture());
      request.keep_on_device = keep;
      fake_cuda().downloads.clear();
      const auto job = run(request);
      ASSERT_FALSE(job->error);
      const auto image = keep ? read(job->result.image_on_device) : job->result.image;
      EXPECT_EQ(image.data, expected->result.image.data);
      // Maps of 32 x 32 are looked at as float32, which are as many bytes as the picture has.
      const auto maps = GetParam() == Kind::cuda ? 3 : 0;
      const auto crossed = GetParam() == Kind::cuda ? (keep || masked ? 1 : 0) : 0;
      EXPECT_EQ(crossings(3 * pixels), maps + crossed);
    }
}

TEST_P(DeviceArrays, LatentsOnTheDeviceAreThoseOfTheHost) {
  auto request = small_request(9, 2);
  request.sampler = SamplerKind::euler;
  request.timestep_spacing = TimestepSpacing::trailing;  // begins at more than one
  request.latents = test_latents(1);
  request.condition_latents.assign(2 * 4 * 8 * 8, 0.25F);
  const auto expected = run(request);
  ASSERT_FALSE(expected->error);
  request.latents_on_device = on_device(DType::float32, {1, 4, 16, 16}, request.latents);
  request.condition_latents_on_device =
      on_device(DType::float32, {2, 4, 8, 8}, request.condition_latents);
  request.latents.clear();
  request.condition_latents.clear();
  const auto job = run(request);
  ASSERT_FALSE(job->error);
  testing::expect_equal(job->result, expected->result);
}

TEST_P(DeviceArrays, LatentsBesideAnImageAreThoseOfTheHost) {
  auto request = small_request(10);
  request.image = test_picture();
  request.latents = test_latents(1);
  const auto expected = run(request);
  request.latents_on_device = on_device(DType::float32, {1, 4, 16, 16}, request.latents);
  request.latents.clear();
  const auto job = run(request);
  ASSERT_FALSE(job->error);
  EXPECT_EQ(job->result.image.data, expected->result.image.data);
}

TEST_P(DeviceArrays, AJointImageStaysToo) {
  auto request = small_request(11);
  request.joint = {"segmentation", "image"};
  const auto there = run(request);
  ASSERT_FALSE(there->error);
  request.keep_on_device = true;
  const auto stayed = run(request);
  ASSERT_FALSE(stayed->error);
  EXPECT_EQ(read(stayed->result.image_on_device).data, there->result.image.data);
  EXPECT_EQ(stayed->result.latents_on_device.shape, (std::vector<std::int64_t>{1, 4, 16, 16}));
}

std::string failure_of(const JobState& job) {
  return testing::refusal<RequestError>([&] {
    if (job.error)
      std::rethrow_exception(job.error);
  });
}

TEST_P(DeviceArrays, LatentsThatAreNotFiniteEndTheirRequest) {
  for (const bool beside_an_image : {false, true}) {
    auto request = small_request(12, 1);
    auto latents = test_latents(1);
    latents[700] = std::numeric_limits<float>::quiet_NaN();
    request.latents_on_device = on_device(DType::float32, {1, 4, 16, 16}, latents);
    if (beside_an_image)
      request.image = test_picture();
    const auto job = run(request);
    EXPECT_NE(failure_of(*job).find("latents of factor image holds a value that is not finite"),
              std::string::npos)
        << failure_of(*job);
    request.latents_on_device = {};
    EXPECT_EQ(owner_.use_count(), 1) << "a job that failed has let go of it";
  }
}

TEST_P(DeviceArrays, APictureThatIsNotFiniteEndsItsRequest) {
  auto request = small_request(13, 1);
  request.keep_on_device = true;
  const auto spoil = [](const std::string& graph, auto, auto outputs) {
    const auto& tensor = outputs.front().tensor;
    if (graph == "vae_decoder" && tensor.shape.back() == 64)
      static_cast<float*>(testing::numbers_of(tensor))[7] = std::numeric_limits<float>::infinity();
  };
  auto graphs = fake_graphs(scenes().manifest(), spoil, {}, device_);
  Scheduler scheduler(scenes(), graphs, {}, {});
  testing::expect_failure<BackendError>(*submit(scheduler, request));
}

TEST_P(DeviceArrays, WrongTypesAndShapesAreNamed) {
  const auto refusal = [](Request request) {
    return testing::refusal<RequestError>(
        [&] { resolve(std::move(request), scenes().manifest()); });
  };
  auto request = small_request(1, 2);
  request.image_on_device = on_device(DType::float32, {64, 64, 3}, std::vector<float>(3 * pixels));
  EXPECT_EQ(refusal(request), "image is an array of float32 of shape (64, 64, 3), expected uint8 "
                              "of shape (64, 64, 3)");
  request.image_on_device = on_device(test_picture());
  EXPECT_EQ(refusal(request), "");
  request.image = test_picture();
  EXPECT_NE(refusal(request).find("image is given twice"), std::string::npos);
  request = small_request(1, 2);
  request.condition_latents_on_device =
      on_device(DType::float32, {1, 4, 8, 8}, std::vector<float>(256));
  EXPECT_EQ(refusal(request), "condition_latents is an array of float32 of shape (1, 4, 8, 8), "
                              "expected float32 of shape (2, 4, 8, 8)");
}

INSTANTIATE_TEST_SUITE_P(OnEveryDevice, DeviceArrays,
                         ::testing::Values(Kind::host, Kind::far, Kind::cuda),
                         [](const auto& test) {
                           return std::string(test.param == Kind::host  ? "Host"
                                              : test.param == Kind::far ? "Far"
                                                                        : "Cuda");
                         });

}  // namespace
}  // namespace fgdm::device_arrays_test
