// fgdm calls the CUDA driver through a table of its own. This compares its symbols, types and
// values with the real header's.
#include <cuda.h>
#include <gtest/gtest.h>

#include <map>
#include <string>
#include <type_traits>

#include "cuda_driver.hpp"

namespace fgdm::cuda {
namespace {

// The header renames functions to their newest version by macros; so does this.
#define FGDM_EXPANDED(name) #name
#define FGDM_SYMBOL(name) FGDM_EXPANDED(name)

// Whether two functions are called alike: as many arguments, each of the same size.
template <typename... A, typename... B> constexpr bool alike(Result (*)(A...), CUresult (*)(B...)) {
  if constexpr (sizeof...(A) == sizeof...(B))
    return ((sizeof(A) == sizeof(B) && std::is_pointer_v<A> == std::is_pointer_v<B>) && ...);
  else
    return false;
}

TEST(CudaAbi, EveryFunctionHasTheHeadersSymbolAndArguments) {
  std::map<std::string, int> symbols;
  for_each_function([&](auto, const char* symbol) { ++symbols[symbol]; });
  EXPECT_EQ(symbols.size(), sizeof(Driver) / sizeof(void*)) << "a member has no symbol";
#define FGDM_EXPECT(member, name)                                                                  \
  EXPECT_EQ(symbols.count(FGDM_SYMBOL(name)), 1U) << FGDM_SYMBOL(name);                            \
  static_assert(alike(decltype(Driver::member){}, static_cast<decltype(&name)>(nullptr)))
  FGDM_EXPECT(init, cuInit);
  FGDM_EXPECT(device_get, cuDeviceGet);
  FGDM_EXPECT(device_attribute, cuDeviceGetAttribute);
  FGDM_EXPECT(primary_context_retain, cuDevicePrimaryCtxRetain);
  FGDM_EXPECT(primary_context_release, cuDevicePrimaryCtxRelease);
  FGDM_EXPECT(context_set_current, cuCtxSetCurrent);
  FGDM_EXPECT(context_get_current, cuCtxGetCurrent);
  FGDM_EXPECT(memory_allocate, cuMemAlloc);
  FGDM_EXPECT(memory_free, cuMemFree);
  FGDM_EXPECT(host_allocate, cuMemHostAlloc);
  FGDM_EXPECT(host_free, cuMemFreeHost);
  FGDM_EXPECT(copy_to_device, cuMemcpyHtoDAsync);
  FGDM_EXPECT(copy_to_host, cuMemcpyDtoHAsync);
  FGDM_EXPECT(copy_on_device, cuMemcpyDtoDAsync);
  FGDM_EXPECT(fill, cuMemsetD8Async);
  FGDM_EXPECT(stream_create, cuStreamCreate);
  FGDM_EXPECT(stream_destroy, cuStreamDestroy);
  FGDM_EXPECT(stream_synchronize, cuStreamSynchronize);
#undef cuStreamGetCtx  // newer headers mean the form that tells green contexts, too
  FGDM_EXPECT(stream_context, cuStreamGetCtx);
  FGDM_EXPECT(stream_wait_event, cuStreamWaitEvent);
  FGDM_EXPECT(event_create, cuEventCreate);
  FGDM_EXPECT(event_destroy, cuEventDestroy);
  FGDM_EXPECT(event_record, cuEventRecord);
  FGDM_EXPECT(stream_begin_capture, cuStreamBeginCapture);
  FGDM_EXPECT(stream_end_capture, cuStreamEndCapture);
  FGDM_EXPECT(graph_instantiate, cuGraphInstantiateWithFlags);
  FGDM_EXPECT(graph_launch, cuGraphLaunch);
  FGDM_EXPECT(graph_executable_destroy, cuGraphExecDestroy);
  FGDM_EXPECT(graph_destroy, cuGraphDestroy);
  FGDM_EXPECT(error_name, cuGetErrorName);
}

TEST(CudaAbi, ValuesAreTheHeaders) {
  EXPECT_EQ(success, CUDA_SUCCESS);
  EXPECT_EQ(out_of_memory, CUDA_ERROR_OUT_OF_MEMORY);
  EXPECT_EQ(not_supported, CUDA_ERROR_NOT_SUPPORTED);
  EXPECT_EQ(compute_capability_major, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR);
  EXPECT_EQ(compute_capability_minor, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR);
  EXPECT_EQ(stream_non_blocking, static_cast<unsigned>(CU_STREAM_NON_BLOCKING));
  EXPECT_EQ(event_disable_timing, static_cast<unsigned>(CU_EVENT_DISABLE_TIMING));
  EXPECT_EQ(capture_thread_local, CU_STREAM_CAPTURE_MODE_THREAD_LOCAL);
  static_assert(std::is_same_v<Stream, CUstream>);
}

}  // namespace
}  // namespace fgdm::cuda
