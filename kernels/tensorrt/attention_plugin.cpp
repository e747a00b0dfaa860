#include "plugin_types.hpp"

#if NV_TENSORRT_MAJOR >= 10

#include <algorithm>
#include <cstring>
#include <exception>
#include <memory>

#include "attention_plugin.hpp"

namespace fgdm::plugin {

AttentionPlugin::AttentionPlugin(fgdm_argmax argmax)
    : argmax_(argmax), field_(argmax_field, argmax_name(argmax), nvinfer1::PluginFieldType::kCHAR,
                              static_cast<std::int32_t>(std::strlen(argmax_name(argmax)))),
      fields_{1, &field_} {}

nvinfer1::IPluginCapability*
AttentionPlugin::getCapabilityInterface(nvinfer1::PluginCapabilityType type) noexcept {
  switch (type) {
  case nvinfer1::PluginCapabilityType::kCORE:
    return static_cast<nvinfer1::IPluginV3OneCore*>(this);
  case nvinfer1::PluginCapabilityType::kBUILD:
    return static_cast<nvinfer1::IPluginV3OneBuild*>(this);
  case nvinfer1::PluginCapabilityType::kRUNTIME:
    return static_cast<nvinfer1::IPluginV3OneRuntime*>(this);
  }
  return nullptr;
}

nvinfer1::IPluginV3* AttentionPlugin::clone() noexcept {
  try {
    return std::make_unique<AttentionPlugin>(argmax_).release();  // TensorRT deletes it
  } catch (const std::exception& problem) {
    log_error(problem.what());
    return nullptr;
  }
}

std::int32_t AttentionPlugin::configurePlugin(const nvinfer1::DynamicPluginTensorDesc* in,
                                              std::int32_t num_in,
                                              const nvinfer1::DynamicPluginTensorDesc*,
                                              std::int32_t num_out) noexcept {
  try {
    if (num_in != num_inputs || num_out != num_outputs) {
      log_error("SegFreeAttention has " + std::to_string(num_in) + " inputs and " +
                std::to_string(num_out) + " outputs, expected 5 and 1");
      return -1;
    }
    // The largest shape of the profile is a real one: what it needs, smaller ones have.
    std::array<Extents, num_inputs> largest;
    for (int i = 0; i < num_inputs; ++i)
      largest[static_cast<std::size_t>(i)] = extents(in[i].max);
    const auto type = element_type(in[position_q].desc.type);
    return kernel_supports(attention_shape(largest, type, argmax_)) ? 0 : -1;
  } catch (const std::exception& problem) {
    log_error(std::string("SegFreeAttention: ") + problem.what());
    return -1;
  }
}

std::int32_t AttentionPlugin::getOutputDataTypes(nvinfer1::DataType* outputs, std::int32_t num_out,
                                                 const nvinfer1::DataType* inputs,
                                                 std::int32_t num_in) const noexcept {
  if (num_in != num_inputs || num_out != num_outputs)
    return -1;
  outputs[0] = inputs[position_q];
  return 0;
}

std::int32_t AttentionPlugin::getOutputShapes(const nvinfer1::DimsExprs* inputs,
                                              std::int32_t num_in, const nvinfer1::DimsExprs*,
                                              std::int32_t, nvinfer1::DimsExprs* outputs,
                                              std::int32_t num_out,
                                              nvinfer1::IExprBuilder&) noexcept {
  if (num_in != num_inputs || num_out != num_outputs)
    return -1;
  outputs[0] = inputs[position_q];
  return 0;
}

bool AttentionPlugin::supportsFormatCombination(std::int32_t position,
                                                const nvinfer1::DynamicPluginTensorDesc* tensors,
                                                std::int32_t, std::int32_t) noexcept {
  return accepts_at(position, [&](int i) { return tensors[i].desc; });
}

std::int32_t AttentionPlugin::onShapeChange(const nvinfer1::PluginTensorDesc* in, std::int32_t,
                                            const nvinfer1::PluginTensorDesc*,
                                            std::int32_t) noexcept {
  try {
    const auto all = all_extents([&](int i) { return in[i]; });
    const auto type = element_type(in[position_q].type);
    return kernel_supports(attention_shape(all, type, argmax_)) ? 0 : -1;
  } catch (const std::exception& problem) {
    log_error(std::string("SegFreeAttention: ") + problem.what());
    return -1;
  }
}

std::int32_t AttentionPlugin::enqueue(const nvinfer1::PluginTensorDesc* in,
                                      const nvinfer1::PluginTensorDesc*, const void* const* inputs,
                                      void* const* outputs, void*, cudaStream_t stream) noexcept {
  return run_kernel(in, argmax_, inputs, static_cast<const unsigned char*>(inputs[position_mask]),
                    outputs[0], stream);
}

nvinfer1::IPluginV3* AttentionPlugin::attachToContext(nvinfer1::IPluginResourceContext*) noexcept {
  return clone();
}

const nvinfer1::PluginFieldCollection* AttentionPlugin::getFieldsToSerialize() noexcept {
  return &fields_;
}

AttentionCreator::AttentionCreator()
    : field_(argmax_field, nullptr, nvinfer1::PluginFieldType::kCHAR, 0), fields_{1, &field_} {}

nvinfer1::IPluginV3* AttentionCreator::createPlugin(const char*,
                                                    const nvinfer1::PluginFieldCollection* fields,
                                                    nvinfer1::TensorRTPhase) noexcept {
  try {
    return std::make_unique<AttentionPlugin>(argmax_of(fields)).release();
  } catch (const std::exception& problem) {
    log_error(problem.what());
    return nullptr;
  }
}

}  // namespace fgdm::plugin

#endif
