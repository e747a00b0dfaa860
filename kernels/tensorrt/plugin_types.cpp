#include "plugin_types.hpp"

#include <stdexcept>

namespace fgdm::plugin {

fgdm_argmax argmax_of(const nvinfer1::PluginFieldCollection* fields) {
  if (fields == nullptr)
    return FGDM_ARGMAX_MEAN;
  for (int i = 0; i < fields->nbFields; ++i) {
    const auto& field = fields->fields[i];
    if (std::string_view(field.name) != argmax_field || field.data == nullptr)
      continue;
    const std::string_view word(static_cast<const char*>(field.data),
                                static_cast<std::size_t>(field.length));
    const auto argmax = field.type == nvinfer1::PluginFieldType::kCHAR
                            ? argmax_from_name(word)
                            : std::optional<fgdm_argmax>();
    if (!argmax)
      throw std::invalid_argument("SegFreeAttention's attribute argmax is \"" + std::string(word) +
                                  "\", expected \"mean\" or \"per_head\"");
    return *argmax;
  }
  return FGDM_ARGMAX_MEAN;
}

bool kernel_supports(const fgdm_attention_shape& shape) {
  const char* problem = fgdm_segfree_attention_check(&shape);
  if (problem == nullptr)
    return true;
  log_error(std::string("SegFreeAttention: ") + problem);
  return false;
}

int run_kernel(const nvinfer1::PluginTensorDesc* inputs, fgdm_argmax argmax,
               const void* const* tensors, const unsigned char* mask, void* out,
               cudaStream_t stream) noexcept {
  try {
    const auto all = all_extents([&](int i) { return inputs[i]; });
    const auto shape = attention_shape(all, element_type(inputs[position_q].type), argmax);
    const int error = fgdm_segfree_attention(
        &shape, tensors[position_q], tensors[position_k], tensors[position_v],
        static_cast<const float*>(tensors[position_scale]), mask, out, stream);
    if (error != 0)
      log_error("SegFreeAttention: the kernel failed with CUDA error " + std::to_string(error));
    return error;
  } catch (const std::exception& problem) {
    log_error(std::string("SegFreeAttention: ") + problem.what());
    return -1;
  }
}

}  // namespace fgdm::plugin
