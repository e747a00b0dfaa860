#pragma once

// What a kernel asks of its thread, in terms of the hardware. "PTX ISA": mma, ldmatrix, cp.async.

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <type_traits>

#include "host_device.hpp"

namespace fgdm::kernels {

struct DeviceThread {
  unsigned char* shared_memory;

  __device__ int lane() const { return static_cast<int>(threadIdx.x) % 32; }
  __device__ int warp() const { return static_cast<int>(threadIdx.x) / 32; }
  __device__ int warps() const { return static_cast<int>(blockDim.x) / 32; }
  __device__ Index3 block() const { return {blockIdx.x, blockIdx.y, blockIdx.z}; }
  __device__ unsigned char* shared() const { return shared_memory; }

  __device__ void sync_block() { __syncthreads(); }
  __device__ void sync_warp() { __syncwarp(); }

  template <typename T> __device__ T shuffle_xor(T value, int mask) {
    return __shfl_xor_sync(0xFFFFFFFFU, value, mask);
  }
  __device__ float shuffle_quad(float value, int source) {
    return __shfl_sync(0xFFFFFFFFU, value, source, 4);
  }

  __device__ void load_matrices(std::uint32_t (&result)[4], const std::uint16_t* row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(result[0]), "=r"(result[1]), "=r"(result[2]), "=r"(result[3])
                 : "r"(shared_address(row))
                 : "memory");
  }
  __device__ void load_matrices_transposed(std::uint32_t (&result)[4], const std::uint16_t* row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(result[0]), "=r"(result[1]), "=r"(result[2]), "=r"(result[3])
                 : "r"(shared_address(row))
                 : "memory");
  }

  // sums += left right: 16x16 times 16x8.
  template <typename Element>
  __device__ void mma(float (&sums)[4], const std::uint32_t (&left)[4], std::uint32_t right0,
                      std::uint32_t right1) {
#if __CUDA_ARCH__ >= 800
    if constexpr (std::is_same_v<Element, Float16>)
      asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 "
          "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
          : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
          : "r"(left[0]), "r"(left[1]), "r"(left[2]), "r"(left[3]), "r"(right0), "r"(right1));
    else
      asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
          "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
          : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
          : "r"(left[0]), "r"(left[1]), "r"(left[2]), "r"(left[3]), "r"(right0), "r"(right1));
#else
    if constexpr (std::is_same_v<Element, Float16>) {
      half_mma(sums, left[0], left[1], right0);
      half_mma(sums, left[2], left[3], right1);
    } else {
      __trap();  // the launcher refuses bfloat16 here
    }
#endif
  }

  // Two numbers, rounded, the first in the low half.
  template <typename Element> __device__ std::uint32_t pack(float low, float high) {
    if constexpr (std::is_same_v<Element, Float16>) {
      const __half2 pair = __floats2half2_rn(low, high);
      return *reinterpret_cast<const std::uint32_t*>(&pair);
    } else {
      const __nv_bfloat162 pair = __floats2bfloat162_rn(low, high);
      return *reinterpret_cast<const std::uint32_t*>(&pair);
    }
  }

  // 16 bytes from global to shared memory, there after wait_copies() for this thread and after a
  // barrier for others.
  __device__ void copy16(Vector16* to, const Vector16* from) {
#if __CUDA_ARCH__ >= 800
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(shared_address(to)),
                 "l"(__cvta_generic_to_global(from))
                 : "memory");
#else
    *to = *from;
#endif
  }
  __device__ void wait_copies() {
#if __CUDA_ARCH__ >= 800
    asm volatile("cp.async.wait_all;" ::: "memory");
#endif
  }

  __device__ float exp2(float value) const {
    float result;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(result) : "f"(value));
    return result;
  }
  __device__ float infinity() const { return __int_as_float(0x7F800000); }

  __device__ float round(float value) const { return rintf(value); }
  __device__ int lowest_bit(std::uint32_t bits) const { return __ffs(static_cast<int>(bits)) - 1; }

  template <typename T> __device__ T atomic_add(T* to, T value) { return atomicAdd(to, value); }
  __device__ void fence() const { __threadfence(); }

private:
  __device__ static unsigned shared_address(const void* pointer) {
    return static_cast<unsigned>(__cvta_generic_to_shared(pointer));
  }

  // Turing's largest: 16x8 times 8x8.
  __device__ static void half_mma(float (&sums)[4], std::uint32_t left0, std::uint32_t left1,
                                  std::uint32_t right) {
    asm("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 "
        "{%0, %1, %2, %3}, {%4, %5}, {%6}, {%0, %1, %2, %3};"
        : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
        : "r"(left0), "r"(left1), "r"(right));
  }
};

}  // namespace fgdm::kernels
