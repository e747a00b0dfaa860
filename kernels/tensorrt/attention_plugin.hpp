#pragma once

#include "plugin_types.hpp"

#if NV_TENSORRT_MAJOR < 10
#error "IPluginV3 begins with TensorRT 10; attention_plugin_v2.hpp serves the versions before"
#endif

namespace fgdm::plugin {

// The op for TensorRT 10 and later. A node has no state but its attribute, so that clones and
// contexts can share anything.
class AttentionPlugin final : public nvinfer1::IPluginV3,
                              public nvinfer1::IPluginV3OneCore,
                              public nvinfer1::IPluginV3OneBuild,
                              public nvinfer1::IPluginV3OneRuntime {
public:
  explicit AttentionPlugin(fgdm_argmax argmax);

  nvinfer1::IPluginCapability*
  getCapabilityInterface(nvinfer1::PluginCapabilityType type) noexcept override;
  nvinfer1::IPluginV3* clone() noexcept override;

  const char* getPluginName() const noexcept override { return op_name; }
  const char* getPluginVersion() const noexcept override { return op_version; }
  const char* getPluginNamespace() const noexcept override { return op_namespace; }

  std::int32_t configurePlugin(const nvinfer1::DynamicPluginTensorDesc* in, std::int32_t num_in,
                               const nvinfer1::DynamicPluginTensorDesc* out,
                               std::int32_t num_out) noexcept override;
  std::int32_t getOutputDataTypes(nvinfer1::DataType* outputs, std::int32_t num_out,
                                  const nvinfer1::DataType* inputs,
                                  std::int32_t num_in) const noexcept override;
  std::int32_t getOutputShapes(const nvinfer1::DimsExprs* inputs, std::int32_t num_in,
                               const nvinfer1::DimsExprs* shape_inputs,
                               std::int32_t num_shape_inputs, nvinfer1::DimsExprs* outputs,
                               std::int32_t num_out,
                               nvinfer1::IExprBuilder& expressions) noexcept override;
  bool supportsFormatCombination(std::int32_t position,
                                 const nvinfer1::DynamicPluginTensorDesc* tensors,
                                 std::int32_t num_in, std::int32_t num_out) noexcept override;
  std::int32_t getNbOutputs() const noexcept override { return num_outputs; }
  const char* getTimingCacheID() noexcept override { return timing_cache_id(argmax_); }

  std::int32_t onShapeChange(const nvinfer1::PluginTensorDesc* in, std::int32_t num_in,
                             const nvinfer1::PluginTensorDesc* out,
                             std::int32_t num_out) noexcept override;
  std::int32_t enqueue(const nvinfer1::PluginTensorDesc* in, const nvinfer1::PluginTensorDesc* out,
                       const void* const* inputs, void* const* outputs, void* workspace,
                       cudaStream_t stream) noexcept override;
  nvinfer1::IPluginV3* attachToContext(nvinfer1::IPluginResourceContext* context) noexcept override;
  const nvinfer1::PluginFieldCollection* getFieldsToSerialize() noexcept override;

private:
  fgdm_argmax argmax_;
  nvinfer1::PluginField field_;
  nvinfer1::PluginFieldCollection fields_;
};

class AttentionCreator final : public nvinfer1::IPluginCreatorV3One {
public:
  AttentionCreator();

  nvinfer1::IPluginV3* createPlugin(const char* name, const nvinfer1::PluginFieldCollection* fields,
                                    nvinfer1::TensorRTPhase phase) noexcept override;
  const nvinfer1::PluginFieldCollection* getFieldNames() noexcept override { return &fields_; }
  const char* getPluginName() const noexcept override { return op_name; }
  const char* getPluginVersion() const noexcept override { return op_version; }
  const char* getPluginNamespace() const noexcept override { return op_namespace; }

private:
  nvinfer1::PluginField field_;
  nvinfer1::PluginFieldCollection fields_;
};

using Creator = AttentionCreator;

}  // namespace fgdm::plugin
