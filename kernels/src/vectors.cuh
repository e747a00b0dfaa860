#pragma once

// Loads and stores of one or four neighbouring numbers of any kind as float32.

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <type_traits>

#include "fgdm/kernels.h"

namespace fgdm::kernels {

__device__ inline float to_float(float value) {
  return value;
}
__device__ inline float to_float(__half value) {
  return __half2float(value);
}
__device__ inline float to_float(__nv_bfloat16 value) {
  return __bfloat162float(value);
}

template <typename T> __device__ T from_float(float value) {
  if constexpr (std::is_same_v<T, float>)
    return value;
  else if constexpr (std::is_same_v<T, __half>)
    return __float2half_rn(value);
  else
    return __float2bfloat16_rn(value);
}

template <typename T, int kWidth> struct alignas(sizeof(T) * kWidth) Vector {
  T at[kWidth];
};

template <int kWidth, typename T> __device__ Vector<float, kWidth> load(const T* from) {
  const auto raw = *reinterpret_cast<const Vector<T, kWidth>*>(from);
  Vector<float, kWidth> result;
#pragma unroll
  for (int i = 0; i < kWidth; ++i)
    result.at[i] = to_float(raw.at[i]);
  return result;
}

template <int kWidth, typename T>
__device__ void store(T* to, const Vector<float, kWidth>& values) {
  Vector<T, kWidth> raw;
#pragma unroll
  for (int i = 0; i < kWidth; ++i)
    raw.at[i] = from_float<T>(values.at[i]);
  *reinterpret_cast<Vector<T, kWidth>*>(to) = raw;
}

// Calls `function` with a value of the device type of `dtype`.
template <typename Function> auto with_device_type(fgdm_dtype dtype, Function function) {
  if (dtype == FGDM_FLOAT16)
    return function(__half{});
  if (dtype == FGDM_BFLOAT16)
    return function(__nv_bfloat16{});
  return function(float{});
}

}  // namespace fgdm::kernels
