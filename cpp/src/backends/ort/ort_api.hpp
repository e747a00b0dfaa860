#pragma once

#include <cstddef>
#include <cstdint>

// ONNX Runtime's C interface as fgdm uses it, without its header: the library is opened at run
// time, and its function table only ever grows at the end (the project's ABI promise), so a
// function is its slot number and its signature. tests/cpp/backends/ort_abi_test.cpp checks every
// slot against the real header wherever that is installed.
namespace fgdm::ort {

struct Env;
struct Status;
struct Session;
struct SessionOptions;
struct RunOptions;
struct Value;
struct MemoryInfo;
struct TypeInfo;
struct TensorInfo;
struct Allocator;
struct ArenaConfig;
struct EpDevice;  // a device as an execution provider offers it
struct HardwareDevice;
struct KeyValuePairs;
struct CustomOpDomain;
struct CustomOp;  // ort_custom_op.hpp
struct KernelInfo;
struct KernelContext;
struct ShapeContext;

/// The oldest interface version that has everything used here (ONNX Runtime 1.21).
inline constexpr std::uint32_t api_version = 21;

/// The interface version that has plugins: execution providers that are registered at run time
/// (ONNX Runtime 1.23). What is declared below the line "From version 23 on" may be called there
/// only.
inline constexpr std::uint32_t plugin_api_version = 23;

struct ApiBase {
  const void* const* (*get_api)(std::uint32_t version) noexcept;
  const char* (*get_version_string)() noexcept;
};

using GetApiBase = const ApiBase* (*)() noexcept;

/// A slot of the function table, with the signature behind it.
template <std::size_t Slot, typename Signature> struct Function {
  static constexpr std::size_t slot = Slot;
  using type = Signature*;
};

using CreateStatus = Function<0, Status*(int, const char*) noexcept>;
using GetErrorMessage = Function<2, const char*(const Status*) noexcept>;
using CreateEnv = Function<3, Status*(int, const char*, Env**) noexcept>;
using CreateSession =
    Function<7, Status*(const Env*, const char*, const SessionOptions*, Session**) noexcept>;
using CreateSessionFromArray = Function<8, Status*(const Env*, const void*, std::size_t,
                                                   const SessionOptions*, Session**) noexcept>;
using Run =
    Function<9, Status*(Session*, const RunOptions*, const char* const*, const Value* const*,
                        std::size_t, const char* const*, std::size_t, Value**) noexcept>;
using CreateSessionOptions = Function<10, Status*(SessionOptions**) noexcept>;
using DisableMemPattern = Function<17, Status*(SessionOptions*) noexcept>;
using SetGraphOptimizationLevel = Function<23, Status*(SessionOptions*, int) noexcept>;
using SetIntraOpNumThreads = Function<24, Status*(SessionOptions*, int) noexcept>;
using SetInterOpNumThreads = Function<25, Status*(SessionOptions*, int) noexcept>;
using CreateCustomOpDomain = Function<26, Status*(const char*, CustomOpDomain**) noexcept>;
using AddCustomOp = Function<27, Status*(CustomOpDomain*, const CustomOp*) noexcept>;
using AddCustomOpDomain = Function<28, Status*(SessionOptions*, CustomOpDomain*) noexcept>;
using SessionGetInputCount = Function<30, Status*(const Session*, std::size_t*) noexcept>;
using SessionGetOutputCount = Function<31, Status*(const Session*, std::size_t*) noexcept>;
using SessionGetInputTypeInfo =
    Function<33, Status*(const Session*, std::size_t, TypeInfo**) noexcept>;
using SessionGetOutputTypeInfo =
    Function<34, Status*(const Session*, std::size_t, TypeInfo**) noexcept>;
using SessionGetInputName =
    Function<36, Status*(const Session*, std::size_t, Allocator*, char**) noexcept>;
using SessionGetOutputName =
    Function<37, Status*(const Session*, std::size_t, Allocator*, char**) noexcept>;
using CreateTensorWithData =
    Function<49, Status*(const MemoryInfo*, void*, std::size_t, const std::int64_t*, std::size_t,
                         int, Value**) noexcept>;
using GetTensorMutableData = Function<51, Status*(Value*, void**) noexcept>;
using CastTypeInfoToTensorInfo =
    Function<55, Status*(const TypeInfo*, const TensorInfo**) noexcept>;
using GetTensorElementType = Function<60, Status*(const TensorInfo*, int*) noexcept>;
using GetDimensionsCount = Function<61, Status*(const TensorInfo*, std::size_t*) noexcept>;
using GetDimensions = Function<62, Status*(const TensorInfo*, std::int64_t*, std::size_t) noexcept>;
using GetTensorTypeAndShape = Function<65, Status*(const Value*, TensorInfo**) noexcept>;
using CreateMemoryInfo = Function<68, Status*(const char*, int, int, int, MemoryInfo**) noexcept>;
using CreateCpuMemoryInfo = Function<69, Status*(int, int, MemoryInfo**) noexcept>;
using AllocatorFree = Function<76, Status*(Allocator*, void*) noexcept>;
using GetDefaultAllocator = Function<78, Status*(Allocator**) noexcept>;
using GetTextAttribute =
    Function<87, Status*(const KernelInfo*, const char*, char*, std::size_t*) noexcept>;
using GetKernelInput =
    Function<90, Status*(const KernelContext*, std::size_t, const Value**) noexcept>;
using GetKernelOutput = Function<91, Status*(KernelContext*, std::size_t, const std::int64_t*,
                                             std::size_t, Value**) noexcept>;
using ReleaseEnv = Function<92, void(Env*) noexcept>;
using ReleaseStatus = Function<93, void(Status*) noexcept>;
using ReleaseMemoryInfo = Function<94, void(MemoryInfo*) noexcept>;
using ReleaseSession = Function<95, void(Session*) noexcept>;
using ReleaseValue = Function<96, void(Value*) noexcept>;
using ReleaseTypeInfo = Function<98, void(TypeInfo*) noexcept>;
using ReleaseTensorInfo = Function<99, void(TensorInfo*) noexcept>;
using ReleaseSessionOptions = Function<100, void(SessionOptions*) noexcept>;
using ReleaseCustomOpDomain = Function<101, void(CustomOpDomain*) noexcept>;
using GetAvailableProviders = Function<125, Status*(char***, int*) noexcept>;
using ReleaseAvailableProviders = Function<126, Status*(char**, int) noexcept>;
using AddSessionConfigEntry =
    Function<130, Status*(SessionOptions*, const char*, const char*) noexcept>;
using CreateAndRegisterAllocator =
    Function<144, Status*(Env*, const MemoryInfo*, const ArenaConfig*) noexcept>;
using AddInitializer = Function<150, Status*(SessionOptions*, const char*, const Value*) noexcept>;
using ReleaseArenaConfig = Function<157, void(ArenaConfig*) noexcept>;
using CreateArenaConfig = Function<164, Status*(const char* const*, const std::size_t*, std::size_t,
                                                ArenaConfig**) noexcept>;
using AppendCudaProvider = Function<204, Status*(SessionOptions*, const void*) noexcept>;
using CreateCudaProviderOptions = Function<205, Status*(void**) noexcept>;
using UpdateCudaProviderOptions =
    Function<206, Status*(void*, const char* const*, const char* const*, std::size_t) noexcept>;
using ReleaseCudaProviderOptions = Function<208, void(void*) noexcept>;
using AddExternalInitializers = Function<210, Status*(SessionOptions*, const char* const*,
                                                      const Value* const*, std::size_t) noexcept>;
using RegisterCustomOpsLibrary = Function<228, Status*(SessionOptions*, const char*) noexcept>;
using ParallelFor = Function<274, Status*(const KernelContext*, void (*)(void*, std::size_t),
                                          std::size_t, std::size_t, void*) noexcept>;
using AppendOpenVinoProvider = Function<275, Status*(SessionOptions*, const char* const*,
                                                     const char* const*, std::size_t) noexcept>;

// From version 23 on.
using GetKeyValue = Function<297, const char*(const KeyValuePairs*, const char*) noexcept>;
using RegisterExecutionProviderLibrary =
    Function<301, Status*(Env*, const char*, const char*) noexcept>;
using GetEpDevices =
    Function<303, Status*(const Env*, const EpDevice* const**, std::size_t*) noexcept>;
using AppendEpDevices =
    Function<304, Status*(SessionOptions*, Env*, const EpDevice* const*, std::size_t,
                          const char* const*, const char* const*, std::size_t) noexcept>;
using HardwareDeviceType = Function<307, int(const HardwareDevice*) noexcept>;
using HardwareDeviceVendorId = Function<308, std::uint32_t(const HardwareDevice*) noexcept>;
using HardwareDeviceId = Function<310, std::uint32_t(const HardwareDevice*) noexcept>;
using EpDeviceName = Function<312, const char*(const EpDevice*) noexcept>;
using EpDeviceVendor = Function<313, const char*(const EpDevice*) noexcept>;
using EpDeviceMetadata = Function<314, const KeyValuePairs*(const EpDevice*) noexcept>;
using EpDeviceHardware = Function<316, const HardwareDevice*(const EpDevice*) noexcept>;

// Values of the interface's enumerations.
inline constexpr int code_fail = 1;
inline constexpr int logging_level_error = 3;
inline constexpr int graph_optimization_all = 99;
inline constexpr int device_allocator = 0;
inline constexpr int arena_allocator = 1;
inline constexpr int memory_type_default = 0;
inline constexpr std::size_t extend_as_requested = 1;
inline constexpr int required = 0;  // of a custom op's inputs and outputs
inline constexpr int hardware_cpu = 0;
inline constexpr int hardware_gpu = 1;
inline constexpr int hardware_npu = 2;
inline constexpr int element_float = 1;
inline constexpr int element_uint8 = 2;
inline constexpr int element_int32 = 6;
inline constexpr int element_int64 = 7;
inline constexpr int element_bool = 9;
inline constexpr int element_float16 = 10;
inline constexpr int element_bfloat16 = 16;

/// The function table of an opened library.
class Table {
public:
  explicit Table(const void* const* functions = nullptr) : functions_(functions) {}

  template <typename F, typename... Arguments> auto call(Arguments... arguments) const {
    // The table is an array of pointers of one size; each slot's type is its declaration above.
    const auto function =
        reinterpret_cast<typename F::type>(const_cast<void*>(functions_[F::slot]));
    return function(arguments...);
  }

private:
  const void* const* functions_;
};

}  // namespace fgdm::ort
