// One pass over the latents: every number is read once and written once. Bound by memory.

#include "guided_step.hpp"

#include <cuda_runtime.h>

#include "device.hpp"
#include "vectors.cuh"

namespace fgdm::kernels {

namespace {

constexpr int threads = 256;

// Grid: (parts of a row, rows).
template <int kWidth, typename Epsilon, typename Input>
__global__ void __launch_bounds__(threads)
    guided_step_kernel(int elements, const fgdm_step_row* __restrict__ steps,
                       const Epsilon* __restrict__ epsilon, float* __restrict__ sample,
                       float* __restrict__ x0, Input* __restrict__ next_input,
                       int* __restrict__ nonfinite) {
  const int first = kWidth * static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  if (first >= elements)
    return;
  const fgdm_step_row row = steps[blockIdx.y];
  const auto size = static_cast<std::int64_t>(elements);
  const std::int64_t own = size * blockIdx.y + first;

  const auto positive = load<kWidth>(epsilon + size * row.positive + first);
  const auto negative =
      row.negative < 0 ? positive : load<kWidth>(epsilon + size * row.negative + first);
  auto values = load<kWidth>(sample + own);
  auto clean = row.history != 0.0F ? load<kWidth>(x0 + own) : Vector<float, kWidth>{};
  bool finite = true;
#pragma unroll
  for (int i = 0; i < kWidth; ++i) {
    const float noise = guided_epsilon(row, positive.at[i], negative.at[i]);
    const StepResult result = advance(row, noise, values.at[i], clean.at[i]);
    values.at[i] = result.sample;
    clean.at[i] = result.x0;
    finite = finite && is_finite(result.sample);
  }
  store<kWidth>(sample + own, values);
  store<kWidth>(x0 + own, clean);
  if (!finite)
    nonfinite[blockIdx.y] = 1;  // whoever writes it writes the same
  if (next_input == nullptr)
    return;
#pragma unroll
  for (int i = 0; i < kWidth; ++i)
    values.at[i] *= row.input_scale;
  for (const int to : row.input)
    if (to >= 0)
      store<kWidth>(next_input + size * to + first, values);
}

template <int kWidth, typename Epsilon, typename Input>
cudaError_t launch(const fgdm_step_shape& shape, const fgdm_step_row* steps, const void* epsilon,
                   float* sample, float* x0, void* next_input, int* nonfinite,
                   cudaStream_t stream) {
  const int per_block = threads * kWidth;
  const dim3 grid(static_cast<unsigned>((shape.elements + per_block - 1) / per_block),
                  static_cast<unsigned>(shape.rows));
  guided_step_kernel<kWidth>
      <<<grid, threads, 0, stream>>>(shape.elements, steps, static_cast<const Epsilon*>(epsilon),
                                     sample, x0, static_cast<Input*>(next_input), nonfinite);
  return cudaGetLastError();
}

}  // namespace

}  // namespace fgdm::kernels

int fgdm_guided_step(const fgdm_step_shape* shape, const fgdm_step_row* steps, const void* epsilon,
                     float* sample, float* x0, void* next_input, int* nonfinite,
                     fgdm_stream stream) {
  using namespace fgdm::kernels;
  if (fgdm_guided_step_check(shape) != nullptr || steps == nullptr || nonfinite == nullptr ||
      !is_aligned(epsilon) || !is_aligned(sample) || !is_aligned(x0) ||
      (next_input != nullptr && !is_aligned(next_input)))
    return cudaErrorInvalidValue;
  return with_device_type(shape->epsilon_dtype, [&](auto read) {
    return with_device_type(shape->input_dtype, [&](auto write) {
      using Epsilon = decltype(read);
      using Input = decltype(write);
      return shape->elements % 4 == 0
                 ? launch<4, Epsilon, Input>(*shape, steps, epsilon, sample, x0, next_input,
                                             nonfinite, stream)
                 : launch<1, Epsilon, Input>(*shape, steps, epsilon, sample, x0, next_input,
                                             nonfinite, stream);
    });
  });
}
