// fgdm calls ONNX Runtime by slot number. This compares every slot with the real header's table,
// and the enumerations' values, so that a wrong number fails here and not in a user's process.
#include <gtest/gtest.h>
#include <onnxruntime_c_api.h>

#include <cstddef>

#include "ort_api.hpp"
#include "ort_custom_op.hpp"

namespace {

#define EXPECT_SLOT(ours, theirs)                                                                  \
  EXPECT_EQ(fgdm::ort::ours::slot, offsetof(OrtApi, theirs) / sizeof(void*)) << #theirs

TEST(OrtAbi, SlotsAreTheHeadersSlots) {
  EXPECT_SLOT(CreateStatus, CreateStatus);
  EXPECT_SLOT(CreateCustomOpDomain, CreateCustomOpDomain);
  EXPECT_SLOT(AddCustomOp, CustomOpDomain_Add);
  EXPECT_SLOT(AddCustomOpDomain, AddCustomOpDomain);
  EXPECT_SLOT(GetTensorMutableData, GetTensorMutableData);
  EXPECT_SLOT(GetTensorTypeAndShape, GetTensorTypeAndShape);
  EXPECT_SLOT(GetTextAttribute, KernelInfoGetAttribute_string);
  EXPECT_SLOT(GetKernelInput, KernelContext_GetInput);
  EXPECT_SLOT(GetKernelOutput, KernelContext_GetOutput);
  EXPECT_SLOT(ReleaseTensorInfo, ReleaseTensorTypeAndShapeInfo);
  EXPECT_SLOT(ReleaseCustomOpDomain, ReleaseCustomOpDomain);
  EXPECT_SLOT(ParallelFor, KernelContext_ParallelFor);
  EXPECT_SLOT(GetErrorMessage, GetErrorMessage);
  EXPECT_SLOT(CreateEnv, CreateEnv);
  EXPECT_SLOT(CreateSession, CreateSession);
  EXPECT_SLOT(CreateSessionFromArray, CreateSessionFromArray);
  EXPECT_SLOT(Run, Run);
  EXPECT_SLOT(CreateSessionOptions, CreateSessionOptions);
  EXPECT_SLOT(DisableMemPattern, DisableMemPattern);
  EXPECT_SLOT(SetGraphOptimizationLevel, SetSessionGraphOptimizationLevel);
  EXPECT_SLOT(SetIntraOpNumThreads, SetIntraOpNumThreads);
  EXPECT_SLOT(SetInterOpNumThreads, SetInterOpNumThreads);
  EXPECT_SLOT(SessionGetInputCount, SessionGetInputCount);
  EXPECT_SLOT(SessionGetOutputCount, SessionGetOutputCount);
  EXPECT_SLOT(SessionGetInputTypeInfo, SessionGetInputTypeInfo);
  EXPECT_SLOT(SessionGetOutputTypeInfo, SessionGetOutputTypeInfo);
  EXPECT_SLOT(SessionGetInputName, SessionGetInputName);
  EXPECT_SLOT(SessionGetOutputName, SessionGetOutputName);
  EXPECT_SLOT(CreateTensorWithData, CreateTensorWithDataAsOrtValue);
  EXPECT_SLOT(CastTypeInfoToTensorInfo, CastTypeInfoToTensorInfo);
  EXPECT_SLOT(GetTensorElementType, GetTensorElementType);
  EXPECT_SLOT(GetDimensionsCount, GetDimensionsCount);
  EXPECT_SLOT(GetDimensions, GetDimensions);
  EXPECT_SLOT(CreateMemoryInfo, CreateMemoryInfo);
  EXPECT_SLOT(CreateCpuMemoryInfo, CreateCpuMemoryInfo);
  EXPECT_SLOT(AllocatorFree, AllocatorFree);
  EXPECT_SLOT(GetDefaultAllocator, GetAllocatorWithDefaultOptions);
  EXPECT_SLOT(ReleaseEnv, ReleaseEnv);
  EXPECT_SLOT(ReleaseStatus, ReleaseStatus);
  EXPECT_SLOT(ReleaseMemoryInfo, ReleaseMemoryInfo);
  EXPECT_SLOT(ReleaseSession, ReleaseSession);
  EXPECT_SLOT(ReleaseValue, ReleaseValue);
  EXPECT_SLOT(ReleaseTypeInfo, ReleaseTypeInfo);
  EXPECT_SLOT(ReleaseSessionOptions, ReleaseSessionOptions);
  EXPECT_SLOT(GetAvailableProviders, GetAvailableProviders);
  EXPECT_SLOT(ReleaseAvailableProviders, ReleaseAvailableProviders);
  EXPECT_SLOT(AddSessionConfigEntry, AddSessionConfigEntry);
  EXPECT_SLOT(CreateAndRegisterAllocator, CreateAndRegisterAllocator);
  EXPECT_SLOT(AddInitializer, AddInitializer);
  EXPECT_SLOT(ReleaseArenaConfig, ReleaseArenaCfg);
  EXPECT_SLOT(CreateArenaConfig, CreateArenaCfgV2);
  EXPECT_SLOT(AppendCudaProvider, SessionOptionsAppendExecutionProvider_CUDA_V2);
  EXPECT_SLOT(CreateCudaProviderOptions, CreateCUDAProviderOptions);
  EXPECT_SLOT(UpdateCudaProviderOptions, UpdateCUDAProviderOptions);
  EXPECT_SLOT(ReleaseCudaProviderOptions, ReleaseCUDAProviderOptions);
  EXPECT_SLOT(AddExternalInitializers, AddExternalInitializers);
  EXPECT_SLOT(RegisterCustomOpsLibrary, RegisterCustomOpsLibrary_V2);
  EXPECT_SLOT(AppendOpenVinoProvider, SessionOptionsAppendExecutionProvider_OpenVINO_V2);
}

#if ORT_API_VERSION >= 23
TEST(OrtAbi, SlotsOfPluginsAreTheHeadersSlots) {
  EXPECT_SLOT(GetKeyValue, GetKeyValue);
  EXPECT_SLOT(RegisterExecutionProviderLibrary, RegisterExecutionProviderLibrary);
  EXPECT_SLOT(GetEpDevices, GetEpDevices);
  EXPECT_SLOT(AppendEpDevices, SessionOptionsAppendExecutionProvider_V2);
  EXPECT_SLOT(HardwareDeviceType, HardwareDevice_Type);
  EXPECT_SLOT(EpDeviceName, EpDevice_EpName);
  EXPECT_SLOT(EpDeviceVendor, EpDevice_EpVendor);
  EXPECT_SLOT(EpDeviceMetadata, EpDevice_EpMetadata);
  EXPECT_SLOT(EpDeviceHardware, EpDevice_Device);
  EXPECT_EQ(fgdm::ort::hardware_cpu, OrtHardwareDeviceType_CPU);
  EXPECT_EQ(fgdm::ort::hardware_gpu, OrtHardwareDeviceType_GPU);
  EXPECT_EQ(fgdm::ort::hardware_npu, OrtHardwareDeviceType_NPU);
}
#endif

#define EXPECT_PLACE(ours, theirs)                                                                 \
  EXPECT_EQ(offsetof(fgdm::ort::CustomOp, ours), offsetof(OrtCustomOp, theirs)) << #theirs

TEST(OrtAbi, ACustomOpIsTheHeaders) {
  EXPECT_PLACE(version, version);
  EXPECT_PLACE(create_kernel_v1, CreateKernel);
  EXPECT_PLACE(name, GetName);
  EXPECT_PLACE(provider, GetExecutionProviderType);
  EXPECT_PLACE(input_type, GetInputType);
  EXPECT_PLACE(input_count, GetInputTypeCount);
  EXPECT_PLACE(output_type, GetOutputType);
  EXPECT_PLACE(output_count, GetOutputTypeCount);
  EXPECT_PLACE(compute_v1, KernelCompute);
  EXPECT_PLACE(destroy, KernelDestroy);
  EXPECT_PLACE(input_characteristic, GetInputCharacteristic);
  EXPECT_PLACE(output_characteristic, GetOutputCharacteristic);
  EXPECT_PLACE(input_memory_type, GetInputMemoryType);
  EXPECT_PLACE(create_kernel, CreateKernelV2);
  EXPECT_PLACE(compute, KernelComputeV2);
  EXPECT_PLACE(infer_shape, InferOutputShapeFn);
  EXPECT_PLACE(first_version, GetStartVersion);
  EXPECT_PLACE(last_version, GetEndVersion);
  EXPECT_PLACE(release_aliases, ReleaseAliasMap);
}

TEST(OrtAbi, EnumerationsHaveTheHeadersValues) {
  EXPECT_EQ(fgdm::ort::code_fail, ORT_FAIL);
  EXPECT_EQ(fgdm::ort::required, INPUT_OUTPUT_REQUIRED);
  EXPECT_EQ(fgdm::ort::element_float, ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT);
  EXPECT_EQ(fgdm::ort::element_uint8, ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8);
  EXPECT_EQ(fgdm::ort::element_int32, ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32);
  EXPECT_EQ(fgdm::ort::element_int64, ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64);
  EXPECT_EQ(fgdm::ort::element_bool, ONNX_TENSOR_ELEMENT_DATA_TYPE_BOOL);
  EXPECT_EQ(fgdm::ort::element_float16, ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16);
  EXPECT_EQ(fgdm::ort::element_bfloat16, ONNX_TENSOR_ELEMENT_DATA_TYPE_BFLOAT16);
  EXPECT_EQ(fgdm::ort::logging_level_error, ORT_LOGGING_LEVEL_ERROR);
  EXPECT_EQ(fgdm::ort::graph_optimization_all, ORT_ENABLE_ALL);
  EXPECT_EQ(fgdm::ort::arena_allocator, OrtArenaAllocator);
  EXPECT_EQ(fgdm::ort::device_allocator, OrtDeviceAllocator);
  EXPECT_EQ(fgdm::ort::memory_type_default, OrtMemTypeDefault);
}

}  // namespace
