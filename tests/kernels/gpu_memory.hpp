#pragma once

// Arrays on the device and the skip of tests where there is none.

#include <cuda_runtime_api.h>

#include <cstddef>
#include <stdexcept>
#include <string>
#include <vector>

#include <gtest/gtest.h>

namespace fgdm::kernels::test {

inline void expect_success(int error, const char* what) {
  if (error != cudaSuccess)
    throw std::runtime_error(std::string(what) + ": " +
                             cudaGetErrorString(static_cast<cudaError_t>(error)));
}

template <typename T> class DeviceArray {
public:
  explicit DeviceArray(const std::vector<T>& values) : size_(values.size()) {
    expect_success(cudaMalloc(&data_, size_ * sizeof(T)), "cudaMalloc");
    expect_success(cudaMemcpy(data_, values.data(), size_ * sizeof(T), cudaMemcpyHostToDevice),
                   "copy to the device");
    // The copy may still be under way when it returns, and tests' streams don't wait for it.
    expect_success(cudaStreamSynchronize(cudaStreamLegacy), "waiting for the copy");
  }
  DeviceArray(const DeviceArray&) = delete;
  ~DeviceArray() { cudaFree(data_); }

  T* data() const { return static_cast<T*>(data_); }

  std::vector<T> read() const {
    std::vector<T> values(size_);
    expect_success(cudaMemcpy(values.data(), data_, size_ * sizeof(T), cudaMemcpyDeviceToHost),
                   "copy from the device");
    return values;
  }

private:
  std::size_t size_;
  void* data_ = nullptr;
};

// Tests of this fixture fail where no device can be used: a skip would pass for a check.
class OnDevice : public ::testing::Test {
protected:
  void SetUp() override {
    int count = 0;
    const cudaError_t error = cudaGetDeviceCount(&count);
    ASSERT_EQ(error, cudaSuccess) << "no NVIDIA GPU can be used: " << cudaGetErrorString(error);
    ASSERT_GT(count, 0) << "no NVIDIA GPU was found";
    expect_success(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "cudaStreamCreate");
  }
  void TearDown() override {
    if (stream != nullptr)
      cudaStreamDestroy(stream);
  }

  bool has_bfloat16() const {
    int device = 0;
    int major = 0;
    expect_success(cudaGetDevice(&device), "cudaGetDevice");
    expect_success(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device),
                   "cudaDeviceGetAttribute");
    return major >= 8;
  }

  cudaStream_t stream = nullptr;
};

}  // namespace fgdm::kernels::test
