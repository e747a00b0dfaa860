#pragma once

#include <string>

#include "plugin_types.hpp"

#if NV_TENSORRT_MAJOR >= 10
#error "TensorRT 10 and later take attention_plugin.hpp"
#endif

namespace fgdm::plugin {

// The op for TensorRT 8.5 and 8.6, which know no IPluginV3. Differs in two things: argmax_mask is
// int32 here, and a plan keeps bytes in place of fields.
class AttentionPluginV2 final : public nvinfer1::IPluginV2DynamicExt {
public:
  explicit AttentionPluginV2(fgdm_argmax argmax) : argmax_(argmax) {}

  nvinfer1::IPluginV2DynamicExt* clone() const noexcept override;
  nvinfer1::DimsExprs getOutputDimensions(std::int32_t output, const nvinfer1::DimsExprs* inputs,
                                          std::int32_t num_in,
                                          nvinfer1::IExprBuilder& expressions) noexcept override;
  bool supportsFormatCombination(std::int32_t position, const nvinfer1::PluginTensorDesc* tensors,
                                 std::int32_t num_in, std::int32_t num_out) noexcept override;
  void configurePlugin(const nvinfer1::DynamicPluginTensorDesc* in, std::int32_t num_in,
                       const nvinfer1::DynamicPluginTensorDesc* out,
                       std::int32_t num_out) noexcept override;
  std::size_t getWorkspaceSize(const nvinfer1::PluginTensorDesc* in, std::int32_t num_in,
                               const nvinfer1::PluginTensorDesc* out,
                               std::int32_t num_out) const noexcept override;
  std::int32_t enqueue(const nvinfer1::PluginTensorDesc* in, const nvinfer1::PluginTensorDesc* out,
                       const void* const* inputs, void* const* outputs, void* workspace,
                       cudaStream_t stream) noexcept override;
  nvinfer1::DataType getOutputDataType(std::int32_t output, const nvinfer1::DataType* inputs,
                                       std::int32_t num_in) const noexcept override;

  const char* getPluginType() const noexcept override { return op_name; }
  const char* getPluginVersion() const noexcept override { return op_version; }
  const char* getPluginNamespace() const noexcept override { return namespace_.c_str(); }
  void setPluginNamespace(const char* name) noexcept override { namespace_ = name; }
  std::int32_t getNbOutputs() const noexcept override { return num_outputs; }
  std::int32_t initialize() noexcept override { return 0; }
  void terminate() noexcept override {}
  void destroy() noexcept override;
  std::size_t getSerializationSize() const noexcept override { return sizeof(Serialized); }
  void serialize(void* buffer) const noexcept override;

private:
  fgdm_argmax argmax_;
  std::string namespace_ = op_namespace;
};

class AttentionCreatorV2 final : public nvinfer1::IPluginCreator {
public:
  AttentionCreatorV2();

  const char* getPluginName() const noexcept override { return op_name; }
  const char* getPluginVersion() const noexcept override { return op_version; }
  const nvinfer1::PluginFieldCollection* getFieldNames() noexcept override { return &fields_; }
  nvinfer1::IPluginV2DynamicExt*
  createPlugin(const char* name, const nvinfer1::PluginFieldCollection* fields) noexcept override;
  nvinfer1::IPluginV2DynamicExt* deserializePlugin(const char* name, const void* bytes,
                                                   std::size_t size) noexcept override;
  void setPluginNamespace(const char* name) noexcept override { namespace_ = name; }
  const char* getPluginNamespace() const noexcept override { return namespace_.c_str(); }

private:
  nvinfer1::PluginField field_;
  nvinfer1::PluginFieldCollection fields_;
  std::string namespace_ = op_namespace;
};

using Creator = AttentionCreatorV2;

}  // namespace fgdm::plugin
