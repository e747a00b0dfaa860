#pragma once

#include <memory>
#include <string>

#include "cuda_driver.hpp"

namespace fgdm::cuda {

// One GPU's primary context, which TensorRT and the CUDA runtime use too.
class Gpu {
public:
  // Throws BackendError if the driver has no such device.
  explicit Gpu(const Driver& driver, int ordinal = 0);
  ~Gpu();
  Gpu(const Gpu&) = delete;
  Gpu& operator=(const Gpu&) = delete;

  // Needed once on every thread that uses the device.
  void make_current() const;

  // The driver, with the device current, for destructors: they may run on any thread and can't
  // throw.
  const Driver& release_on() const noexcept;

  // As plans name it, such as "sm_89".
  std::string architecture() const;

  // Throws RequestError if a stream is of another GPU or context.
  void check_is_here(Stream stream) const;

  // As CUDA counts them.
  int ordinal() const { return ordinal_; }

  const Driver& driver() const { return driver_; }

  // Throws OutOfMemoryError or BackendError that names `what` if a call failed.
  void check(Result result, const std::string& what) const;

private:
  const Driver& driver_;
  int ordinal_, device_ = 0;
  Context context_ = nullptr;
};

// Gives the calling thread's GPU back at the end of a scope: opening and closing an engine makes
// its own current.
class CallersContext {
public:
  // Of this machine's driver; without one there is nothing to keep.
  CallersContext() noexcept;
  explicit CallersContext(const Driver* driver) noexcept;
  ~CallersContext();
  CallersContext(const CallersContext&) = delete;
  CallersContext& operator=(const CallersContext&) = delete;

private:
  const Driver* driver_;
  Context context_ = nullptr;
};

// Bytes rounded up, so that what follows them in a block is aligned for anything.
constexpr std::size_t aligned(std::size_t bytes) {
  return (bytes + 255) / 256 * 256;
}

// Device memory. Throws OutOfMemoryError or BackendError; freeing can't throw, and may happen on
// any thread.
std::byte* allocate_memory(const Gpu& gpu, std::size_t bytes);
void free_memory(const Gpu& gpu, std::byte* memory) noexcept;

// A block of device memory, or of pinned host memory, that only grows. Growing loses its content
// and moves it; `generation` counts the moves.
class Block {
public:
  enum class Place { device, pinned_host };

  Block(std::shared_ptr<const Gpu> gpu, Place place) : gpu_(std::move(gpu)), place_(place) {}
  ~Block();
  Block(const Block&) = delete;
  Block& operator=(const Block&) = delete;

  void reserve(std::size_t bytes);

  std::byte* data() const { return data_; }
  std::size_t size() const { return size_; }
  int generation() const { return generation_; }

private:
  void release();

  std::shared_ptr<const Gpu> gpu_;
  Place place_;
  std::byte* data_ = nullptr;  // on the device, it must not be read here
  std::size_t size_ = 0;
  int generation_ = 0;
};

// A stream that work is queued on: one of its own, or the caller's, which must outlive it.
class WorkStream {
public:
  explicit WorkStream(std::shared_ptr<const Gpu> gpu, Stream callers = nullptr);
  ~WorkStream();
  WorkStream(const WorkStream&) = delete;
  WorkStream& operator=(const WorkStream&) = delete;

  Stream get() const { return stream_; }
  // Others may queue work there too.
  bool is_callers() const { return !owned_; }
  void upload(std::byte* to_device, const std::byte* from_host, std::size_t bytes) const;
  void download(std::byte* to_host, const std::byte* from_device, std::size_t bytes) const;
  void copy(std::byte* to, const std::byte* from, std::size_t bytes) const;
  void clear(std::byte* memory, std::size_t bytes) const;
  void synchronize() const;

private:
  std::shared_ptr<const Gpu> gpu_;
  Stream stream_;
  bool owned_;
};

// A CUDA graph: work that was recorded from a stream once and is launched in one call.
class RecordedGraph {
public:
  explicit RecordedGraph(std::shared_ptr<const Gpu> gpu) : gpu_(std::move(gpu)) {}
  ~RecordedGraph() { clear(); }
  RecordedGraph(const RecordedGraph&) = delete;
  RecordedGraph& operator=(const RecordedGraph&) = delete;

  // Records what `work()` queues on the stream; nothing of it runs. False, with nothing recorded,
  // if the driver refuses; what `work` throws passes through.
  template <typename Work> bool record(const WorkStream& stream, Work work) {
    clear();
    if (gpu_->driver().stream_begin_capture(stream.get(), capture_thread_local) != success)
      return false;
    try {
      work();
    } catch (...) {
      finish(stream, false);  // a stream must not be left capturing
      throw;
    }
    return finish(stream, true);
  }

  bool ready() const { return executable_ != nullptr; }
  // False if the driver can't, which may lack memory for it.
  bool launch(const WorkStream& stream) const;
  void clear();

private:
  bool finish(const WorkStream& stream, bool keep);

  std::shared_ptr<const Gpu> gpu_;
  GraphExecutable executable_ = nullptr;
};

}  // namespace fgdm::cuda
