#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <utility>

struct CUstream_st;

// The CUDA driver's C interface as fgdm uses it, without its header: libcuda.so.1 is opened at run
// time. tests/cpp/backends/cuda_abi_test.cpp compares names and values with the real header
// wherever that is installed. Everything here exists from CUDA 11.4 (JetPack 5) on.
namespace fgdm::cuda {

using Result = int;  // CUresult
using DevicePointer = std::uint64_t;
using Stream = CUstream_st*;  // a cudaStream_t as well
using Context = struct ContextState*;
using Event = struct EventState*;
using Graph = struct GraphState*;
using GraphExecutable = struct GraphExecutableState*;

inline constexpr Result success = 0;
inline constexpr Result out_of_memory = 2;
inline constexpr Result not_supported = 801;
inline constexpr int compute_capability_major = 75;
inline constexpr int compute_capability_minor = 76;
inline constexpr unsigned stream_non_blocking = 1;
inline constexpr unsigned event_disable_timing = 2;
inline constexpr int capture_thread_local = 1;

// The driver's functions. A test fills the table with its own.
struct Driver {
  Result (*init)(unsigned flags);
  Result (*device_get)(int* device, int ordinal);
  Result (*device_attribute)(int* value, int attribute, int device);
  Result (*primary_context_retain)(Context* context, int device);
  Result (*primary_context_release)(int device);
  Result (*context_set_current)(Context context);
  Result (*context_get_current)(Context* context);
  Result (*memory_allocate)(DevicePointer* memory, std::size_t bytes);
  Result (*memory_free)(DevicePointer memory);
  Result (*host_allocate)(void** memory, std::size_t bytes, unsigned flags);
  Result (*host_free)(void* memory);
  Result (*copy_to_device)(DevicePointer to, const void* from, std::size_t bytes, Stream stream);
  Result (*copy_to_host)(void* to, DevicePointer from, std::size_t bytes, Stream stream);
  Result (*copy_on_device)(DevicePointer to, DevicePointer from, std::size_t bytes, Stream stream);
  Result (*fill)(DevicePointer memory, unsigned char byte, std::size_t bytes, Stream stream);
  Result (*stream_create)(Stream* stream, unsigned flags);
  Result (*stream_destroy)(Stream stream);
  Result (*stream_synchronize)(Stream stream);
  Result (*stream_context)(Stream stream, Context* context);
  Result (*stream_wait_event)(Stream stream, Event event, unsigned flags);
  Result (*event_create)(Event* event, unsigned flags);
  Result (*event_destroy)(Event event);
  Result (*event_record)(Event event, Stream stream);
  Result (*stream_begin_capture)(Stream stream, int mode);
  Result (*stream_end_capture)(Stream stream, Graph* graph);
  Result (*graph_instantiate)(GraphExecutable* executable, Graph graph, unsigned long long flags);
  Result (*graph_launch)(GraphExecutable executable, Stream stream);
  Result (*graph_executable_destroy)(GraphExecutable executable);
  Result (*graph_destroy)(Graph graph);
  Result (*error_name)(Result error, const char** name);
};

// Calls `visit` with a pointer to each of the driver's members and the symbol behind it.
template <typename Visit> void for_each_function(Visit visit) {
  visit(&Driver::init, "cuInit");
  visit(&Driver::device_get, "cuDeviceGet");
  visit(&Driver::device_attribute, "cuDeviceGetAttribute");
  visit(&Driver::primary_context_retain, "cuDevicePrimaryCtxRetain");
  visit(&Driver::primary_context_release, "cuDevicePrimaryCtxRelease_v2");
  visit(&Driver::context_set_current, "cuCtxSetCurrent");
  visit(&Driver::context_get_current, "cuCtxGetCurrent");
  visit(&Driver::memory_allocate, "cuMemAlloc_v2");
  visit(&Driver::memory_free, "cuMemFree_v2");
  visit(&Driver::host_allocate, "cuMemHostAlloc");
  visit(&Driver::host_free, "cuMemFreeHost");
  visit(&Driver::copy_to_device, "cuMemcpyHtoDAsync_v2");
  visit(&Driver::copy_to_host, "cuMemcpyDtoHAsync_v2");
  visit(&Driver::copy_on_device, "cuMemcpyDtoDAsync_v2");
  visit(&Driver::fill, "cuMemsetD8Async");
  visit(&Driver::stream_create, "cuStreamCreate");
  visit(&Driver::stream_destroy, "cuStreamDestroy_v2");
  visit(&Driver::stream_synchronize, "cuStreamSynchronize");
  visit(&Driver::stream_context, "cuStreamGetCtx");
  visit(&Driver::stream_wait_event, "cuStreamWaitEvent");
  visit(&Driver::event_create, "cuEventCreate");
  visit(&Driver::event_destroy, "cuEventDestroy_v2");
  visit(&Driver::event_record, "cuEventRecord");
  visit(&Driver::stream_begin_capture, "cuStreamBeginCapture_v2");
  visit(&Driver::stream_end_capture, "cuStreamEndCapture");
  visit(&Driver::graph_instantiate, "cuGraphInstantiateWithFlags");
  visit(&Driver::graph_launch, "cuGraphLaunch");
  visit(&Driver::graph_executable_destroy, "cuGraphExecDestroy");
  visit(&Driver::graph_destroy, "cuGraphDestroy");
  visit(&Driver::error_name, "cuGetErrorName");
}

// The driver of this machine. Throws BackendError with what to install if there is none, or if it
// lacks a function.
const Driver& driver();

}  // namespace fgdm::cuda
