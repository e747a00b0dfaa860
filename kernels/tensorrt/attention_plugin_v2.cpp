#include "plugin_types.hpp"

#if NV_TENSORRT_MAJOR < 10

#include <cstring>
#include <exception>
#include <memory>

#include "attention_plugin_v2.hpp"

namespace fgdm::plugin {
namespace {

// Creates what TensorRT will destroy() or delete.
nvinfer1::IPluginV2DynamicExt* make(fgdm_argmax argmax, const char* name) {
  auto plugin = std::make_unique<AttentionPluginV2>(argmax);
  plugin->setPluginNamespace(name);
  return plugin.release();
}

}  // namespace

nvinfer1::IPluginV2DynamicExt* AttentionPluginV2::clone() const noexcept {
  try {
    return make(argmax_, namespace_.c_str());
  } catch (const std::exception& problem) {
    log_error(problem.what());
    return nullptr;
  }
}

nvinfer1::DimsExprs AttentionPluginV2::getOutputDimensions(std::int32_t,
                                                           const nvinfer1::DimsExprs* inputs,
                                                           std::int32_t,
                                                           nvinfer1::IExprBuilder&) noexcept {
  return inputs[position_q];
}

bool AttentionPluginV2::supportsFormatCombination(std::int32_t position,
                                                  const nvinfer1::PluginTensorDesc* tensors,
                                                  std::int32_t num_in,
                                                  std::int32_t num_out) noexcept {
  return num_in == num_inputs && num_out == num_outputs &&
         accepts_at(position, [&](int i) { return tensors[i]; });
}

// Can't refuse; enqueue() does.
void AttentionPluginV2::configurePlugin(const nvinfer1::DynamicPluginTensorDesc*, std::int32_t,
                                        const nvinfer1::DynamicPluginTensorDesc*,
                                        std::int32_t) noexcept {}

// One byte for each element of the mask.
std::size_t AttentionPluginV2::getWorkspaceSize(const nvinfer1::PluginTensorDesc* in, std::int32_t,
                                                const nvinfer1::PluginTensorDesc*,
                                                std::int32_t) const noexcept {
  const auto& mask = in[position_mask].dims;
  return static_cast<std::size_t>(mask.d[0]) * static_cast<std::size_t>(mask.d[1]);
}

std::int32_t AttentionPluginV2::enqueue(const nvinfer1::PluginTensorDesc* in,
                                        const nvinfer1::PluginTensorDesc*,
                                        const void* const* inputs, void* const* outputs,
                                        void* workspace, cudaStream_t stream) noexcept {
  // A cast from bool is 0 or 1, which the lowest byte of each int32 holds; the machines with a GPU
  // are little-endian.
  const auto bytes = getWorkspaceSize(in, num_inputs, nullptr, num_outputs);
  const auto error = cudaMemcpy2DAsync(workspace, 1, inputs[position_mask], sizeof(std::int32_t), 1,
                                       bytes, cudaMemcpyDeviceToDevice, stream);
  if (error != cudaSuccess) {
    log_error(std::string("SegFreeAttention: copying the mask failed: ") +
              cudaGetErrorString(error));
    return error;
  }
  return run_kernel(in, argmax_, inputs, static_cast<const unsigned char*>(workspace), outputs[0],
                    stream);
}

nvinfer1::DataType AttentionPluginV2::getOutputDataType(std::int32_t,
                                                        const nvinfer1::DataType* inputs,
                                                        std::int32_t) const noexcept {
  return inputs[position_q];
}

void AttentionPluginV2::destroy() noexcept {
  delete this;  // the interface asks for it
}

void AttentionPluginV2::serialize(void* buffer) const noexcept {
  const auto bytes = plugin::serialize(argmax_);
  std::memcpy(buffer, bytes.data(), bytes.size());
}

AttentionCreatorV2::AttentionCreatorV2()
    : field_(argmax_field, nullptr, nvinfer1::PluginFieldType::kCHAR, 0), fields_{1, &field_} {}

nvinfer1::IPluginV2DynamicExt*
AttentionCreatorV2::createPlugin(const char*,
                                 const nvinfer1::PluginFieldCollection* fields) noexcept {
  try {
    return make(argmax_of(fields), namespace_.c_str());
  } catch (const std::exception& problem) {
    log_error(problem.what());
    return nullptr;
  }
}

nvinfer1::IPluginV2DynamicExt* AttentionCreatorV2::deserializePlugin(const char*, const void* bytes,
                                                                     std::size_t size) noexcept {
  try {
    const auto argmax = deserialize({static_cast<const std::byte*>(bytes), size});
    return make(argmax, namespace_.c_str());
  } catch (const std::exception& problem) {
    log_error(problem.what());
    return nullptr;
  }
}

}  // namespace fgdm::plugin

#endif
