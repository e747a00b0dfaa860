// Arrays as DLPack hands them on: what a consumer reads in them, and that each is freed once.
#include "dlpack.hpp"

#include <string>

#include <gtest/gtest.h>

#include "fgdm/error.hpp"
#include "refusal.hpp"

namespace fgdm::dlpack_test {
namespace {

// Memory on a GPU that counts who let it go.
class CountedMemory final : public SharedMemory {
public:
  explicit CountedMemory(int& freed) : freed_(freed) {}
  ~CountedMemory() override { ++freed_; }
  std::byte* data() const override { return reinterpret_cast<std::byte*>(0x1000); }
  int gpu() const override { return 3; }
  void wait_on(void*) const override {}
  void read(void*) const override {}
  std::shared_ptr<const SharedMemory> copied() const override { return nullptr; }

private:
  int& freed_;
};

template <typename T> void expect_a_picture(T* managed, int& freed) {
  const auto& tensor = managed->tensor;
  EXPECT_EQ(dlpack::begin_of(tensor), reinterpret_cast<std::byte*>(0x1000));
  EXPECT_EQ(tensor.device.type, dlpack::device_cuda);
  EXPECT_EQ(tensor.device.id, 3);
  EXPECT_EQ((std::vector(tensor.shape, tensor.shape + tensor.ndim)),
            (std::vector<std::int64_t>{16, 8, 3}));
  EXPECT_EQ((std::vector(tensor.strides, tensor.strides + tensor.ndim)),
            (std::vector<std::int64_t>{24, 3, 1}));
  EXPECT_EQ(tensor.dtype.code, dlpack::code_uint);
  EXPECT_EQ(tensor.dtype.bits, 8);
  const auto seen = dlpack::described(tensor, "image");
  EXPECT_EQ(seen.dtype, DType::uint8);
  EXPECT_EQ(seen.shape, (std::vector<std::int64_t>{16, 8, 3}));
  EXPECT_EQ(freed, 0);
  managed->deleter(managed);
}

TEST(Dlpack, AnArrayIsHeldUntilTheDeleterOfItsTensorIsCalled) {
  int freed = 0;
  DeviceArray array{DType::uint8, {16, 8, 3}, std::make_shared<CountedMemory>(freed)};
  auto* const old = dlpack::managed(array);
  auto* const versioned = dlpack::managed_versioned(array, true);
  EXPECT_EQ(versioned->version.major, 1U);
  EXPECT_EQ(versioned->flags, dlpack::flag_is_copied);
  array = {};
  expect_a_picture(old, freed);
  EXPECT_EQ(freed, 0) << "another tensor still has it";
  expect_a_picture(versioned, freed);
  EXPECT_EQ(freed, 1);
}

std::string refusal(const dlpack::DataType& type, std::vector<std::int64_t> shape,
                    std::vector<std::int64_t> strides = {}) {
  const dlpack::Tensor tensor{nullptr,
                              {dlpack::device_cpu, 0},
                              static_cast<std::int32_t>(shape.size()),
                              type,
                              shape.data(),
                              strides.empty() ? nullptr : strides.data(),
                              0};
  return testing::refusal<RequestError>([&] { dlpack::described(tensor, "image"); });
}

TEST(Dlpack, WhatNoOptionTakesIsNamed) {
  const dlpack::DataType bytes{dlpack::code_uint, 8, 1}, doubles{dlpack::code_float, 64, 1};
  EXPECT_EQ(refusal(bytes, {4, 5, 3}), "");
  EXPECT_EQ(refusal(bytes, {4, 5, 3}, {15, 3, 1}), "");
  EXPECT_EQ(refusal(bytes, {4, 1, 3}, {3, 99, 1}), "") << "an extent of one has no stride";
  EXPECT_NE(refusal(bytes, {4, 5, 3}, {5, 1, 20}).find("image has the strides (5, 1, 20)"),
            std::string::npos);
  EXPECT_NE(refusal(doubles, {4, 5}).find("image is an array of float64"), std::string::npos);
  EXPECT_NE(refusal({5, 64, 1}, {4}).find("complex64"), std::string::npos);
  EXPECT_NE(refusal({dlpack::code_float, 32, 4}, {4}).find("vectors of 4"), std::string::npos);
  EXPECT_NE(refusal(bytes, {0, 5, 3}).find("empty"), std::string::npos);
  EXPECT_NE(refusal(bytes, {}).find("empty array or a single number"), std::string::npos);
}

}  // namespace
}  // namespace fgdm::dlpack_test
