#pragma once

#include <NvInferRuntime.h>

#include <array>
#include <string>

#include "attention_rules.hpp"

// TensorRT's words for types and shapes in the plugin's own, and its log. Compiles with the headers
// of 8.5 and later.
namespace fgdm::plugin {

// Plugins of TensorRT 8 can't have boolean tensors; the graph casts the mask to int32 for them.
inline constexpr ElementType mask_type =
    NV_TENSORRT_MAJOR >= 10 ? ElementType::boolean : ElementType::int32;

inline ElementType element_type(nvinfer1::DataType type) {
  switch (type) {
  case nvinfer1::DataType::kFLOAT:
    return ElementType::float32;
  case nvinfer1::DataType::kHALF:
    return ElementType::float16;
  case nvinfer1::DataType::kBOOL:
    return ElementType::boolean;
  case nvinfer1::DataType::kINT32:
    return ElementType::int32;
#if NV_TENSORRT_MAJOR >= 10
  case nvinfer1::DataType::kBF16:
    return ElementType::bfloat16;
#endif
  default:
    return ElementType::other;
  }
}

inline Proposal proposal(const nvinfer1::PluginTensorDesc& tensor) {
  return {element_type(tensor.type), tensor.format == nvinfer1::TensorFormat::kLINEAR};
}

inline Extents extents(const nvinfer1::Dims& dims) {
  Extents found{dims.nbDims, {}};
  for (int i = 0; i < dims.nbDims && i < Extents::most; ++i)
    found.values[static_cast<std::size_t>(i)] = dims.d[i];
  return found;
}

// To the log of whoever loaded the library, or to standard error where nobody gave one.
void log_error(const std::string& message) noexcept;

// The extents of all inputs, from `tensor(i)`, which gives each one's description.
template <typename Describe> std::array<Extents, num_inputs> all_extents(Describe describe) {
  std::array<Extents, num_inputs> all;
  for (int i = 0; i < num_inputs; ++i)
    all[static_cast<std::size_t>(i)] = extents(describe(i).dims);
  return all;
}

// Whether the node can have the type and format that `describe(position)` proposes.
template <typename Describe> bool accepts_at(int position, Describe describe) {
  if (position < 0 || position >= num_inputs + num_outputs)
    return false;
  std::array<Proposal, num_inputs + num_outputs> proposals{};
  for (int i = 0; i <= position; ++i)
    proposals[static_cast<std::size_t>(i)] = proposal(describe(i));
  return accepts(std::span(proposals).first(static_cast<std::size_t>(position) + 1), mask_type);
}

// The attribute `argmax` among a node's fields. Throws std::invalid_argument for an unknown word.
fgdm_argmax argmax_of(const nvinfer1::PluginFieldCollection* fields);

// Says what is wrong and answers false if the kernel can't run the shape.
bool kernel_supports(const fgdm_attention_shape& shape);

// Runs the kernel; 0, or what TensorRT takes for a failure.
int run_kernel(const nvinfer1::PluginTensorDesc* inputs, fgdm_argmax argmax,
               const void* const* tensors, const unsigned char* mask, void* out,
               cudaStream_t stream) noexcept;

}  // namespace fgdm::plugin
