// The plugin through TensorRT's own interfaces, with the version that this is built with: what the
// builder and the runtime hand over must reach the kernel. Runs without a GPU and without
// TensorRT's library; the kernel is a recording one.
#include <gtest/gtest.h>

#include <array>
#include <memory>

#include "entry_points.hpp"
#include "recording_kernel.hpp"

namespace fgdm::plugin {
namespace {

using nvinfer1::DataType;
using nvinfer1::PluginTensorDesc;
using nvinfer1::TensorFormat;

nvinfer1::Dims dims(std::initializer_list<int> extents) {
  nvinfer1::Dims made{};
  for (const int extent : extents)
    made.d[made.nbDims++] = extent;
  return made;
}

PluginTensorDesc tensor(std::initializer_list<int> extents, DataType type) {
  PluginTensorDesc made{};
  made.dims = dims(extents);
  made.type = type;
  made.format = TensorFormat::kLINEAR;
  return made;
}

constexpr DataType mask_data_type = NV_TENSORRT_MAJOR >= 10 ? DataType::kBOOL : DataType::kINT32;

// 2 rows, 8 heads, 16 patches, 5 tokens, head size 40, float16; the output last.
std::array<PluginTensorDesc, 6> node() {
  const auto half = DataType::kHALF;
  return {tensor({2, 8, 16, 40}, half),   tensor({2, 8, 5, 40}, half),
          tensor({2, 8, 5, 40}, half),    tensor({2}, DataType::kFLOAT),
          tensor({2, 5}, mask_data_type), tensor({2, 8, 16, 40}, half)};
}

// A node with the attribute argmax="..." as the ONNX parser makes it.
template <typename Make> auto with_attribute(const std::string& word, Make make) {
  const nvinfer1::PluginField field(argmax_field, word.data(), nvinfer1::PluginFieldType::kCHAR,
                                    static_cast<std::int32_t>(word.size()));
  nvinfer1::PluginFieldCollection fields{1, &field};
  return make(&fields);
}

#if NV_TENSORRT_MAJOR >= 10

using Plugin = std::unique_ptr<nvinfer1::IPluginV3>;

Plugin create(const nvinfer1::PluginFieldCollection* fields,
              nvinfer1::TensorRTPhase phase = nvinfer1::TensorRTPhase::kBUILD) {
  return Plugin(creator().createPlugin("node", fields, phase));
}

nvinfer1::IPluginV3OneBuild* build_of(const Plugin& plugin) {
  return static_cast<nvinfer1::IPluginV3OneBuild*>(
      plugin->getCapabilityInterface(nvinfer1::PluginCapabilityType::kBUILD));
}

nvinfer1::IPluginV3OneRuntime* runtime_of(const Plugin& plugin) {
  return static_cast<nvinfer1::IPluginV3OneRuntime*>(
      plugin->getCapabilityInterface(nvinfer1::PluginCapabilityType::kRUNTIME));
}

Plugin create_with(const std::string& word) {
  return with_attribute(word, [](const auto* fields) { return create(fields); });
}

// As a plan keeps a node and brings it back.
Plugin reloaded(const Plugin& plugin) {
  return create(runtime_of(plugin)->getFieldsToSerialize(), nvinfer1::TensorRTPhase::kRUNTIME);
}

Plugin cloned(const Plugin& plugin) {
  return Plugin(plugin->clone());
}

bool supports(const Plugin& plugin, int position, const std::array<PluginTensorDesc, 6>& tensors) {
  std::array<nvinfer1::DynamicPluginTensorDesc, 6> described{};
  for (std::size_t i = 0; i < described.size(); ++i)
    described[i].desc = tensors[i];
  return build_of(plugin)->supportsFormatCombination(position, described.data(), 5, 1);
}

int run(const Plugin& plugin, const std::array<PluginTensorDesc, 6>& tensors,
        const std::array<const void*, 5>& inputs, void* out) {
  void* const outputs[]{out};
  return runtime_of(plugin)->enqueue(tensors.data(), &tensors[5], inputs.data(), outputs, nullptr,
                                     nullptr);
}

TEST(Plugin, SpeaksForTheOpInItsNamespace) {
  const auto plugin = create(nullptr);
  const auto* core = static_cast<nvinfer1::IPluginV3OneCore*>(
      plugin->getCapabilityInterface(nvinfer1::PluginCapabilityType::kCORE));
  EXPECT_STREQ(core->getPluginName(), "SegFreeAttention");
  EXPECT_STREQ(core->getPluginVersion(), "1");
  EXPECT_STREQ(core->getPluginNamespace(), "fgdm");
  std::int32_t count = 0;
  auto* const* creators = getCreators(count);
  ASSERT_EQ(count, 1);
  EXPECT_EQ(creators[0], &creator());
}

TEST(Plugin, TheOutputHasTypeAndShapeOfTheQueries) {
  const auto plugin = create(nullptr);
  const std::array<DataType, 5> inputs{DataType::kBF16, DataType::kBF16, DataType::kBF16,
                                       DataType::kFLOAT, DataType::kBOOL};
  DataType output = DataType::kFLOAT;
  ASSERT_EQ(build_of(plugin)->getOutputDataTypes(&output, 1, inputs.data(), 5), 0);
  EXPECT_EQ(output, DataType::kBF16);
  EXPECT_NE(build_of(plugin)->getOutputDataTypes(&output, 1, inputs.data(), 4), 0);
}

TEST(Plugin, TheBuilderIsToldOfWhatTheKernelCannotRun) {
  const auto plugin = create(nullptr);
  const auto configure = [&](std::array<PluginTensorDesc, 6> tensors) {
    std::array<nvinfer1::DynamicPluginTensorDesc, 6> described{};
    for (std::size_t i = 0; i < described.size(); ++i) {
      described[i].desc = tensors[i];
      described[i].min = described[i].max = tensors[i].dims;
    }
    return build_of(plugin)->configurePlugin(described.data(), 5, &described[5], 1);
  };
  EXPECT_EQ(configure(node()), 0);
  auto wide = node();
  for (const auto input : {position_q, position_k, position_v})
    wide[input].dims.d[3] = most_head_size + 1;
  EXPECT_NE(configure(wide), 0);
  EXPECT_NE(runtime_of(plugin)->onShapeChange(wide.data(), 5, &wide[5], 1), 0);
  auto torn = node();
  torn[position_mask].dims.d[1] = 4;
  EXPECT_NE(configure(torn), 0);
}

TEST(Plugin, BFloat16IsTaken) {
  auto tensors = node();
  for (const auto position : {position_q, position_k, position_v, position_out})
    tensors[position].type = DataType::kBF16;
  for (int position = 0; position < 6; ++position)
    EXPECT_TRUE(supports(create(nullptr), position, tensors)) << position;
}

#else

struct Destroy {
  void operator()(nvinfer1::IPluginV2DynamicExt* plugin) const { plugin->destroy(); }
};
using Plugin = std::unique_ptr<nvinfer1::IPluginV2DynamicExt, Destroy>;

Plugin create(const nvinfer1::PluginFieldCollection* fields) {
  return Plugin(creator().createPlugin("node", fields));
}

Plugin create_with(const std::string& word) {
  return with_attribute(word, [](const auto* fields) { return create(fields); });
}

Plugin reloaded(const Plugin& plugin) {
  std::vector<char> bytes(plugin->getSerializationSize());
  plugin->serialize(bytes.data());
  return Plugin(creator().deserializePlugin("node", bytes.data(), bytes.size()));
}

Plugin cloned(const Plugin& plugin) {
  return Plugin(plugin->clone());
}

bool supports(const Plugin& plugin, int position, const std::array<PluginTensorDesc, 6>& tensors) {
  return plugin->supportsFormatCombination(position, tensors.data(), 5, 1);
}

int run(const Plugin& plugin, const std::array<PluginTensorDesc, 6>& tensors,
        const std::array<const void*, 5>& inputs, void* out) {
  static std::vector<unsigned char> workspace;
  workspace.assign(plugin->getWorkspaceSize(tensors.data(), 5, &tensors[5], 1), 0xFF);
  void* const outputs[]{out};
  return plugin->enqueue(tensors.data(), &tensors[5], inputs.data(), outputs, workspace.data(),
                         nullptr);
}

TEST(Plugin, SpeaksForTheOpInItsNamespace) {
  EXPECT_STREQ(creator().getPluginName(), "SegFreeAttention");
  EXPECT_STREQ(creator().getPluginVersion(), "1");
  EXPECT_STREQ(creator().getPluginNamespace(), "fgdm");
  EXPECT_STREQ(create(nullptr)->getPluginNamespace(), "fgdm");
  EXPECT_STREQ(cloned(create(nullptr))->getPluginNamespace(), "fgdm");
}

TEST(Plugin, AMaskOfInt32BecomesBytes) {
  kernel_calls().clear();
  const std::array<std::int32_t, 10> mask{0, 1, 1, 0, 1, 1, 0, 0, 0, 1};
  const char q = 0, k = 0, v = 0;
  const float scale[2]{1, -10};
  char out = 0;
  ASSERT_EQ(run(create(nullptr), node(), {&q, &k, &v, scale, mask.data()}, &out), 0);
  const auto* bytes = kernel_calls().at(0).argmax_mask;
  EXPECT_EQ(std::vector<int>(bytes, bytes + mask.size()),
            std::vector<int>(mask.begin(), mask.end()));
}

#endif

TEST(Plugin, TakesTheTypesThatAGraphHas) {
  const auto plugin = create(nullptr);
  for (int position = 0; position < 6; ++position)
    EXPECT_TRUE(supports(plugin, position, node())) << position;
  auto other = node();
  other[position_scale].type = DataType::kHALF;
  EXPECT_FALSE(supports(plugin, position_scale, other));
  other[position_mask].type = DataType::kFLOAT;
  EXPECT_FALSE(supports(plugin, position_mask, other));
  other[position_out].format = TensorFormat::kCHW2;
  EXPECT_FALSE(supports(plugin, position_out, other));
}

TEST(Plugin, EveryTensorReachesTheKernel) {
  kernel_calls().clear();
  const char q = 0, k = 0, v = 0;
  const float scale[2]{1, -10};
  const std::array<std::int32_t, 10> mask{};
  char out = 0;
  ASSERT_EQ(run(create(nullptr), node(), {&q, &k, &v, scale, mask.data()}, &out), 0);
  ASSERT_EQ(kernel_calls().size(), 1U);
  const auto& call = kernel_calls().front();
  EXPECT_EQ(call.q, &q);
  EXPECT_EQ(call.k, &k);
  EXPECT_EQ(call.v, &v);
  EXPECT_EQ(call.attn_scale, scale);
  EXPECT_EQ(call.out, &out);
  EXPECT_EQ(call.shape.batch, 2);
  EXPECT_EQ(call.shape.heads, 8);
  EXPECT_EQ(call.shape.patches, 16);
  EXPECT_EQ(call.shape.tokens, 5);
  EXPECT_EQ(call.shape.head_size, 40);
  EXPECT_EQ(call.shape.dtype, FGDM_FLOAT16);
  EXPECT_EQ(call.shape.argmax, FGDM_ARGMAX_MEAN);
}

TEST(Plugin, TheAttributeSurvivesCloningAndAPlan) {
  const char input[4]{};
  char out = 0;
  const auto argmax_of_run = [&](const Plugin& plugin) {
    kernel_calls().clear();
    const float scale[2]{};
    const std::array<std::int32_t, 10> mask{};
    EXPECT_EQ(run(plugin, node(), {input, input, input, scale, mask.data()}, &out), 0);
    return kernel_calls().at(0).shape.argmax;
  };
  const auto plugin = create_with("per_head");
  EXPECT_EQ(argmax_of_run(plugin), FGDM_ARGMAX_PER_HEAD);
  EXPECT_EQ(argmax_of_run(cloned(plugin)), FGDM_ARGMAX_PER_HEAD);
  EXPECT_EQ(argmax_of_run(reloaded(plugin)), FGDM_ARGMAX_PER_HEAD);
  EXPECT_EQ(argmax_of_run(reloaded(create_with("mean"))), FGDM_ARGMAX_MEAN);
  EXPECT_EQ(create_with("median"), nullptr);
}

TEST(Plugin, AFailingKernelFailsTheNode) {
  next_kernel_error = 700;
  const float scale[2]{};
  const std::array<std::int32_t, 10> mask{};
  char out = 0;
  EXPECT_EQ(run(create(nullptr), node(), {&out, &out, &out, scale, mask.data()}, &out), 700);
  next_kernel_error = 0;
}

}  // namespace
}  // namespace fgdm::plugin
