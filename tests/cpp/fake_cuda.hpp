#pragma once

#include <cstdlib>
#include <cstring>
#include <functional>
#include <map>
#include <utility>
#include <vector>

#include "cuda_driver.hpp"
#include "far_device.hpp"

// A CUDA driver for tests of what is queued and in which order. Its memory is the host's, at
// addresses that the host cannot touch. Queued work is done as late as may be: when somebody waits
// for the stream. While a stream is capturing, work is kept in place of done.
namespace fgdm::testing {

struct FakeCuda {
  using Work = std::vector<std::function<void()>>;

  std::map<void*, std::size_t> memory;  // what is allocated now
  std::size_t most_bytes = 1U << 30U;   // of all together
  bool capturing = false, can_capture = true, can_launch = true;
  Work captured;
  std::vector<Work> graphs;
  int launches = 0, synchronisations = 0;

  Work pending;

  // Work on the stream: done when somebody waits for it, or kept while it is capturing.
  void queue(std::function<void()> work) {
    (capturing ? captured : pending).push_back(std::move(work));
  }
  void wait() {
    for (const auto& work : std::exchange(pending, {}))
      work();
  }
};

inline FakeCuda& fake_cuda() {
  static FakeCuda state;
  return state;
}

// The context that is current on this thread.
inline cuda::Context& fake_context() {
  thread_local cuda::Context current = nullptr;
  return current;
}

inline void* near(cuda::DevicePointer memory) {
  return FarDevice::near(reinterpret_cast<void*>(memory));
}

inline const cuda::Driver& fake_driver() {
  using namespace cuda;
  static const auto allocate = [](void** memory, std::size_t bytes) -> Result {
    if (fake_context() == nullptr)
      return 201;
    std::size_t taken = bytes;
    for (const auto& [other, size] : fake_cuda().memory)
      taken += size;
    if (taken > fake_cuda().most_bytes)
      return out_of_memory;
    *memory = std::malloc(bytes);
    fake_cuda().memory[*memory] = bytes;
    return success;
  };
  static const auto release = [](void* memory) -> Result {
    fake_cuda().wait();
    if (fake_cuda().memory.erase(memory) == 0)
      return 1;
    std::free(memory);
    return success;
  };
  static const Driver driver{
      .init = [](unsigned) { return success; },
      .device_get = [](int* device, int ordinal) -> Result {
        *device = ordinal;
        return ordinal == 0 ? success : 101;
      },
      .device_attribute = [](int* value, int attribute, int) -> Result {
        *value = attribute == compute_capability_major ? 8 : 9;
        return success;
      },
      .primary_context_retain = [](Context* context, int) -> Result {
        *context = reinterpret_cast<Context>(&fake_cuda());
        return success;
      },
      .primary_context_release = [](int) { return success; },
      .context_set_current = [](Context context) -> Result {
        fake_context() = context;
        return success;
      },
      .context_get_current = [](Context* context) -> Result {
        *context = fake_context();
        return success;
      },
      .memory_allocate = [](DevicePointer* memory, std::size_t bytes) -> Result {
        void* made = nullptr;
        const auto result = allocate(&made, bytes);
        *memory = reinterpret_cast<DevicePointer>(FarDevice::far(made));
        return result;
      },
      .memory_free = [](DevicePointer memory) { return release(near(memory)); },
      .host_allocate = [](void** memory, std::size_t bytes,
                          unsigned) { return allocate(memory, bytes); },
      .host_free = [](void* memory) { return release(memory); },
      .copy_to_device = [](DevicePointer to, const void* from, std::size_t bytes,
                           Stream) -> Result {
        fake_cuda().queue([=] { std::memcpy(near(to), from, bytes); });
        return success;
      },
      .copy_to_host = [](void* to, DevicePointer from, std::size_t bytes, Stream) -> Result {
        fake_cuda().queue([=] { std::memcpy(to, near(from), bytes); });
        return success;
      },
      .copy_on_device = [](DevicePointer to, DevicePointer from, std::size_t bytes,
                           Stream) -> Result {
        fake_cuda().queue([=] { std::memcpy(near(to), near(from), bytes); });
        return success;
      },
      .fill = [](DevicePointer memory, unsigned char byte, std::size_t bytes, Stream) -> Result {
        fake_cuda().queue([=] { std::memset(near(memory), byte, bytes); });
        return success;
      },
      .stream_create = [](Stream* stream, unsigned) -> Result {
        *stream = reinterpret_cast<Stream>(&fake_cuda());
        return success;
      },
      .stream_destroy = [](Stream) { return success; },
      .stream_synchronize = [](Stream) -> Result {
        ++fake_cuda().synchronisations;
        fake_cuda().wait();
        return fake_cuda().capturing ? 900 : success;
      },
      .stream_begin_capture = [](Stream, int) -> Result {
        fake_cuda().capturing = true;
        fake_cuda().captured.clear();
        return success;
      },
      .stream_end_capture = [](Stream, Graph* graph) -> Result {
        fake_cuda().capturing = false;
        if (!fake_cuda().can_capture)
          return 901;
        fake_cuda().graphs.push_back(fake_cuda().captured);
        *graph = reinterpret_cast<Graph>(fake_cuda().graphs.size());
        return success;
      },
      .graph_instantiate = [](GraphExecutable* executable, Graph graph,
                              unsigned long long) -> Result {
        *executable = reinterpret_cast<GraphExecutable>(graph);
        return success;
      },
      .graph_launch = [](GraphExecutable executable, Stream) -> Result {
        if (!fake_cuda().can_launch)
          return out_of_memory;
        ++fake_cuda().launches;
        for (const auto& work : fake_cuda().graphs[reinterpret_cast<std::size_t>(executable) - 1])
          fake_cuda().pending.push_back(work);
        return success;
      },
      .graph_executable_destroy = [](GraphExecutable) { return success; },
      .graph_destroy = [](Graph) { return success; },
      .error_name = [](Result error, const char** name) -> Result {
        *name = error == out_of_memory ? "CUDA_ERROR_OUT_OF_MEMORY" : "CUDA_ERROR";
        return success;
      }};
  return driver;
}

}  // namespace fgdm::testing
