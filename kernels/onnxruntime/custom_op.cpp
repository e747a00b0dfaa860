// The op for ONNX Runtime: a library that its sessions register, over the same kernel as TensorRT's
// plugin. C interface only, so that one build serves every ONNX Runtime from 1.21 on.
#include <onnxruntime_c_api.h>

#include <array>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "attention_rules.hpp"

#ifndef FGDM_ORT_PROVIDER
#define FGDM_ORT_PROVIDER "CUDAExecutionProvider"
#endif

namespace {

using namespace fgdm::plugin;

// The interface of ONNX Runtime 1.21, whose later versions only add to it.
constexpr std::uint32_t api_version = 21;

const OrtApi* ort = nullptr;

// Throws std::runtime_error with what the runtime says.
void check(OrtStatus* status) {
  if (status == nullptr)
    return;
  const std::string message = ort->GetErrorMessage(status);
  ort->ReleaseStatus(status);
  throw std::runtime_error(message);
}

// Runs `work`; what it throws becomes a status.
template <typename Work> OrtStatus* guarded(Work work) noexcept {
  try {
    work();
    return nullptr;
  } catch (const std::exception& problem) {
    return ort->CreateStatus(ORT_FAIL, problem.what());
  }
}

ElementType element_type(ONNXTensorElementDataType type) {
  switch (type) {
  case ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT:
    return ElementType::float32;
  case ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16:
    return ElementType::float16;
  case ONNX_TENSOR_ELEMENT_DATA_TYPE_BFLOAT16:
    return ElementType::bfloat16;
  default:
    return ElementType::other;
  }
}

struct Tensor {
  const void* data;
  Extents extents;
  ONNXTensorElementDataType type;
};

Tensor input(OrtKernelContext* context, std::size_t index) {
  const OrtValue* value = nullptr;
  check(ort->KernelContext_GetInput(context, index, &value));
  OrtTensorTypeAndShapeInfo* info = nullptr;
  check(ort->GetTensorTypeAndShape(value, &info));
  Tensor found{};
  std::size_t rank = 0;
  auto* status = ort->GetTensorElementType(info, &found.type);
  if (status == nullptr)
    status = ort->GetDimensionsCount(info, &rank);
  if (status == nullptr && rank <= Extents::most)
    status = ort->GetDimensions(info, found.extents.values.data(), rank);
  ort->ReleaseTensorTypeAndShapeInfo(info);
  check(status);
  found.extents.rank = static_cast<int>(rank);
  void* data = nullptr;
  check(ort->GetTensorMutableData(const_cast<OrtValue*>(value), &data));
  found.data = data;
  return found;
}

// One node of a graph.
struct Kernel {
  fgdm_argmax argmax;

  void compute(OrtKernelContext* context) const {
    std::array<Tensor, num_inputs> inputs;
    std::array<Extents, num_inputs> extents;
    for (std::size_t i = 0; i < inputs.size(); ++i) {
      inputs[i] = input(context, i);
      extents[i] = inputs[i].extents;
    }
    const auto shape = attention_shape(extents, element_type(inputs[position_q].type), argmax);
    if (const char* problem = fgdm_segfree_attention_check(&shape))
      throw std::runtime_error(std::string(problem) +
                               "; without libfgdm_ort_ops.so the op runs as standard ops");
    OrtValue* value = nullptr;
    check(ort->KernelContext_GetOutput(context, 0, extents[position_q].values.data(),
                                       static_cast<std::size_t>(extents[position_q].rank), &value));
    void* out = nullptr;
    check(ort->GetTensorMutableData(value, &out));
    void* stream = nullptr;
    check(ort->KernelContext_GetGPUComputeStream(context, &stream));
    const int error = fgdm_segfree_attention(
        &shape, inputs[position_q].data, inputs[position_k].data, inputs[position_v].data,
        static_cast<const float*>(inputs[position_scale].data),
        static_cast<const unsigned char*>(inputs[position_mask].data), out,
        static_cast<fgdm_stream>(stream));
    if (error != 0)
      throw std::runtime_error("the kernel failed with CUDA error " + std::to_string(error));
  }
};

// The attribute `argmax` of a node; the mean over heads where it has none.
fgdm_argmax argmax_of(const OrtKernelInfo* info) {
  std::size_t size = 0;
  if (auto* absent = ort->KernelInfoGetAttribute_string(info, argmax_field, nullptr, &size)) {
    ort->ReleaseStatus(absent);
    return FGDM_ARGMAX_MEAN;
  }
  std::vector<char> word(size);
  check(ort->KernelInfoGetAttribute_string(info, argmax_field, word.data(), &size));
  const auto argmax = argmax_from_name({word.data(), size});
  if (!argmax)
    throw std::runtime_error("the attribute argmax is none of \"mean\" and \"per_head\"");
  return *argmax;
}

// The op for one element type of q, k, v and out; the runtime merges ops of one name.
struct Op : OrtCustomOp {
  explicit Op(ONNXTensorElementDataType element) : OrtCustomOp{}, type(element) {
    version = api_version;
    GetName = [](const OrtCustomOp*) { return op_name; };
    GetExecutionProviderType = [](const OrtCustomOp*) { return FGDM_ORT_PROVIDER; };
    GetInputTypeCount = [](const OrtCustomOp*) -> std::size_t { return num_inputs; };
    GetOutputTypeCount = [](const OrtCustomOp*) -> std::size_t { return num_outputs; };
    GetInputType = [](const OrtCustomOp* self, std::size_t index) {
      if (index == position_scale)
        return ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT;
      if (index == position_mask)
        return ONNX_TENSOR_ELEMENT_DATA_TYPE_BOOL;
      return static_cast<const Op*>(self)->type;
    };
    GetOutputType = [](const OrtCustomOp* self, std::size_t) {
      return static_cast<const Op*>(self)->type;
    };
    const auto required = [](const OrtCustomOp*, std::size_t) { return INPUT_OUTPUT_REQUIRED; };
    GetInputCharacteristic = required;
    GetOutputCharacteristic = required;
    GetInputMemoryType = [](const OrtCustomOp*, std::size_t) { return OrtMemTypeDefault; };
    CreateKernelV2 = [](const OrtCustomOp*, const OrtApi*, const OrtKernelInfo* info,
                        void** kernel) -> OrtStatus* {
      return guarded([&] { *kernel = std::make_unique<Kernel>(argmax_of(info)).release(); });
    };
    KernelComputeV2 = [](void* kernel, OrtKernelContext* context) -> OrtStatus* {
      return guarded([&] { static_cast<const Kernel*>(kernel)->compute(context); });
    };
    KernelDestroy = [](void* kernel) {
      const std::unique_ptr<Kernel> last(static_cast<Kernel*>(kernel));
    };
    GetStartVersion = [](const OrtCustomOp*) { return 1; };
    GetEndVersion = [](const OrtCustomOp*) { return 1; };
  }

  ONNXTensorElementDataType type;
};

}  // namespace

extern "C" __attribute__((visibility("default"))) OrtStatus* ORT_API_CALL
RegisterCustomOps(OrtSessionOptions* options, const OrtApiBase* base) {
  ort = base->GetApi(api_version);
  if (ort == nullptr)
    return base->GetApi(1)->CreateStatus(ORT_FAIL, "fgdm's op needs ONNX Runtime 1.21 or newer");
  return guarded([&] {
    static Op float32(ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT);
    static Op float16(ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16);
    static Op bfloat16(ONNX_TENSOR_ELEMENT_DATA_TYPE_BFLOAT16);
    static OrtCustomOpDomain* domain = [] {  // as long as the process, like the library
      OrtCustomOpDomain* made = nullptr;
      check(ort->CreateCustomOpDomain(op_namespace, &made));
      for (Op* op : {&float32, &float16, &bfloat16})
        check(ort->CustomOpDomain_Add(made, op));
      return made;
    }();
    check(ort->AddCustomOpDomain(options, domain));
  });
}
