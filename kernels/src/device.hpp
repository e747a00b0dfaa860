#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

namespace fgdm::kernels {

// An error that a caller is told of. The runtime keeps it too, and would blame the next launch.
inline cudaError_t forgotten(cudaError_t error) {
  cudaGetLastError();
  return error;
}

// One property of the current device.
inline cudaError_t device_attribute(cudaDeviceAttr attribute, int& value) {
  int device = 0;
  cudaError_t error = cudaGetDevice(&device);
  if (error == cudaSuccess)
    error = cudaDeviceGetAttribute(&value, attribute, device);
  return error == cudaSuccess ? error : forgotten(error);
}

inline bool is_aligned(const void* pointer) {
  return pointer != nullptr && reinterpret_cast<std::uintptr_t>(pointer) % 16 == 0;
}

}  // namespace fgdm::kernels
