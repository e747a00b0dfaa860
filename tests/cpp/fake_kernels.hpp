#pragma once

#include <vector>

#include "cuda_kernels.hpp"
#include "fake_cuda.hpp"
#include "guided_step.hpp"
#include "half.hpp"
#include "reference.hpp"

// fgdm's kernels for the fake CUDA driver, on the memory behind its addresses and queued as
// launches are: guided_step's own arithmetic, decode_labels' reference.
namespace fgdm::testing {

template <typename T> std::span<T> near_array(T* memory, std::size_t count) {
  return {FarDevice::near(memory), count};
}

inline bool is_aligned(const void* memory) {
  return reinterpret_cast<std::uintptr_t>(memory) % 16 == 0;
}

inline int fake_guided_step(const fgdm_step_shape* shape, const fgdm_step_row* steps,
                            const void* epsilon, float* sample, float* x0, void* next_input,
                            int* nonfinite, fgdm_stream) {
  if (fgdm_guided_step_check(shape) != nullptr || next_input != nullptr || !is_aligned(epsilon) ||
      !is_aligned(sample) || !is_aligned(x0))
    return 1;
  fake_cuda().queue([=, shape = *shape] {
    const auto rows = static_cast<std::size_t>(shape.rows);
    const auto elements = static_cast<std::size_t>(shape.elements);
    const auto row_steps = near_array(steps, rows);
    const auto* noise = FarDevice::near(static_cast<const float*>(epsilon));
    const auto samples = near_array(sample, rows * elements);
    const auto clean = near_array(x0, rows * elements);
    const auto flags = near_array(nonfinite, rows);
    for (std::size_t i = 0; i < rows * elements; ++i) {
      const auto& row = row_steps[i / elements];
      const auto predicted = [&](int of) {
        return noise[static_cast<std::size_t>(of) * elements + i % elements];
      };
      const float positive = predicted(row.positive);
      const float negative = row.negative < 0 ? positive : predicted(row.negative);
      const auto result = kernels::advance(row, kernels::guided_epsilon(row, positive, negative),
                                           samples[i], clean[i]);
      samples[i] = result.sample;
      clean[i] = result.x0;
      if (!kernels::is_finite(result.sample))
        flags[i / elements] = 1;
    }
  });
  return 0;
}

inline int fake_decode_labels(const fgdm_labels_shape* shape, const void* images,
                              const unsigned char* palette, const unsigned char* requested,
                              unsigned char* labels, int* areas, fgdm_map_recall* recall,
                              fgdm_stream) {
  if (fgdm_decode_labels_check(shape) != nullptr || !is_aligned(images))
    return 1;
  fake_cuda().queue([=, shape = *shape] {
    const auto maps = static_cast<std::size_t>(shape.maps);
    const auto classes = static_cast<std::size_t>(shape.classes);
    const auto pixels =
        maps * static_cast<std::size_t>(shape.height) * static_cast<std::size_t>(shape.width);
    kernels::reference::decode_labels(
        shape, near_array(static_cast<const float*>(images), 3 * pixels),
        near_array(palette, 3 * classes), near_array(requested, maps * classes),
        near_array(labels, pixels), near_array(areas, maps * classes), near_array(recall, maps));
  });
  return 0;
}

inline int fake_accumulate(fgdm_dtype dtype, long long elements, void* total, const void* term,
                           fgdm_stream) {
  if (elements < 1 || !is_aligned(total) || !is_aligned(term))
    return 1;
  fake_cuda().queue([=] {
    const auto count = static_cast<std::size_t>(elements);
    if (dtype == FGDM_FLOAT32)
      for (std::size_t i = 0; i < count; ++i)
        near_array(static_cast<float*>(total), count)[i] +=
            near_array(static_cast<const float*>(term), count)[i];
    else
      for (std::size_t i = 0; i < count; ++i) {
        auto& sum = near_array(static_cast<std::uint16_t*>(total), count)[i];
        const auto added = near_array(static_cast<const std::uint16_t*>(term), count)[i];
        sum = float_to_half(half_to_float(sum) + half_to_float(added));
      }
  });
  return 0;
}

inline const cuda::Kernels& fake_kernels() {
  static const cuda::Kernels table{fake_guided_step, fake_decode_labels, fake_accumulate};
  return table;
}

}  // namespace fgdm::testing
