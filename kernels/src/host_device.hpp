#pragma once

#include <cstdint>

// Functions marked so are compiled for the device by nvcc and for the host by any compiler: what
// the tests run on the CPU is the source that the kernels are made of.
#ifdef __CUDACC__
#define FGDM_HOST_DEVICE __host__ __device__ inline
#else
#define FGDM_HOST_DEVICE inline
#endif

#ifdef __CUDA_ARCH__
#define FGDM_UNROLL _Pragma("unroll")
#define FGDM_NO_UNROLL _Pragma("unroll 1")
#else
#define FGDM_UNROLL
#define FGDM_NO_UNROLL
#endif

namespace fgdm::kernels {

// Storage of 16-bit numbers, without arithmetic and the same on host and device.
struct Float16 {
  std::uint16_t bits;
};

struct BFloat16 {
  std::uint16_t bits;
};

struct alignas(16) Vector16 {
  std::uint32_t words[4];
};

struct Index3 {
  unsigned x, y, z;
};

}  // namespace fgdm::kernels
