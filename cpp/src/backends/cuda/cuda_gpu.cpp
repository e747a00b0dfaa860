#include "cuda_gpu.hpp"

#include "fgdm/error.hpp"

namespace fgdm::cuda {
namespace {

DevicePointer pointer(const std::byte* data) {
  return reinterpret_cast<DevicePointer>(data);
}

const Driver* driver_if_any() noexcept {
  try {
    return &driver();
  } catch (const std::exception&) {
    return nullptr;
  }
}

}  // namespace

Gpu::Gpu(const Driver& driver, int ordinal) : driver_(driver), ordinal_(ordinal) {
  check(driver_.init(0), "starting CUDA");
  check(driver_.device_get(&device_, ordinal), "finding GPU " + std::to_string(ordinal));
  check(driver_.primary_context_retain(&context_, device_), "opening the GPU");
  make_current();
}

Gpu::~Gpu() {
  if (context_ != nullptr)
    driver_.primary_context_release(device_);
}

void Gpu::make_current() const {
  check(driver_.context_set_current(context_), "choosing the GPU");
}

const Driver& Gpu::release_on() const noexcept {
  driver_.context_set_current(context_);
  return driver_;
}

std::string Gpu::architecture() const {
  int major = 0, minor = 0;
  check(driver_.device_attribute(&major, compute_capability_major, device_), "asking the GPU");
  check(driver_.device_attribute(&minor, compute_capability_minor, device_), "asking the GPU");
  return "sm_" + std::to_string(major) + std::to_string(minor);
}

void Gpu::check(Result result, const std::string& what) const {
  if (result == success)
    return;
  const char* name = nullptr;
  if (driver_.error_name(result, &name) != success || name == nullptr)
    name = "an unknown error";
  const auto message = what + ": " + name + " (" + std::to_string(result) + ")";
  if (result == out_of_memory)
    throw OutOfMemoryError(message + "; ask for fewer candidates or a smaller picture, or build "
                                     "plans with --share-weights");
  throw BackendError(message);
}

void Gpu::check_is_here(Stream stream) const {
  Context found = nullptr;
  const auto asked = driver_.stream_context(stream, &found);
  if (asked == not_supported)  // a green context's stream, which has none that could be told
    return;
  check(asked, "asking the given stream for its GPU");
  if (found != context_)
    throw RequestError("stream is of another GPU, or another context, than device " +
                       std::to_string(ordinal_) +
                       "; give one that was made while that GPU was current, or name its GPU as "
                       "device");
}

CallersContext::CallersContext() noexcept : CallersContext(driver_if_any()) {}

CallersContext::CallersContext(const Driver* driver) noexcept : driver_(driver) {
  if (driver_ != nullptr)
    driver_->context_get_current(&context_);  // none before CUDA is started
}

CallersContext::~CallersContext() {
  if (driver_ != nullptr)
    driver_->context_set_current(context_);
}

std::byte* allocate_memory(const Gpu& gpu, std::size_t bytes) {
  DevicePointer memory = 0;
  gpu.check(gpu.driver().memory_allocate(&memory, bytes),
            std::to_string(bytes) + " bytes of GPU memory");
  return reinterpret_cast<std::byte*>(memory);
}

void free_memory(const Gpu& gpu, std::byte* memory) noexcept {
  gpu.release_on().memory_free(pointer(memory));
}

Block::~Block() {
  release();
}

void Block::release() {
  if (data_ == nullptr)
    return;
  if (place_ == Place::device)
    free_memory(*gpu_, data_);
  else
    gpu_->release_on().host_free(data_);
  data_ = nullptr;
  size_ = 0;
}

void Block::reserve(std::size_t bytes) {
  if (bytes <= size_)
    return;
  release();  // first, so that both never exist at once
  ++generation_;
  if (place_ == Place::device) {
    data_ = allocate_memory(*gpu_, bytes);
  } else {
    void* memory = nullptr;
    gpu_->check(gpu_->driver().host_allocate(&memory, bytes, 0),
                std::to_string(bytes) + " bytes of pinned memory");
    data_ = static_cast<std::byte*>(memory);
  }
  size_ = bytes;
}

WorkStream::WorkStream(std::shared_ptr<const Gpu> gpu, Stream callers)
    : gpu_(std::move(gpu)), stream_(callers), owned_(callers == nullptr) {
  if (owned_)
    gpu_->check(gpu_->driver().stream_create(&stream_, stream_non_blocking), "creating a stream");
  else
    gpu_->check_is_here(callers);
}

WorkStream::~WorkStream() {
  if (owned_)
    gpu_->release_on().stream_destroy(stream_);
}

void WorkStream::upload(std::byte* to_device, const std::byte* from_host, std::size_t bytes) const {
  if (bytes > 0)
    gpu_->check(gpu_->driver().copy_to_device(pointer(to_device), from_host, bytes, stream_),
                "copying to the GPU");
}

void WorkStream::download(std::byte* to_host, const std::byte* from_device,
                          std::size_t bytes) const {
  if (bytes > 0)
    gpu_->check(gpu_->driver().copy_to_host(to_host, pointer(from_device), bytes, stream_),
                "copying from the GPU");
}

void WorkStream::copy(std::byte* to, const std::byte* from, std::size_t bytes) const {
  if (bytes > 0)
    gpu_->check(gpu_->driver().copy_on_device(pointer(to), pointer(from), bytes, stream_),
                "copying within the GPU");
}

void WorkStream::clear(std::byte* memory, std::size_t bytes) const {
  if (bytes > 0)
    gpu_->check(gpu_->driver().fill(pointer(memory), 0, bytes, stream_), "clearing GPU memory");
}

void WorkStream::synchronize() const {
  gpu_->check(gpu_->driver().stream_synchronize(stream_), "waiting for the GPU");
}

bool RecordedGraph::finish(const WorkStream& stream, bool keep) {
  const Driver& driver = gpu_->driver();
  Graph graph = nullptr;
  if (driver.stream_end_capture(stream.get(), &graph) != success || graph == nullptr)
    return false;
  if (keep && driver.graph_instantiate(&executable_, graph, 0) != success)
    executable_ = nullptr;
  driver.graph_destroy(graph);
  return ready();
}

bool RecordedGraph::launch(const WorkStream& stream) const {
  return gpu_->driver().graph_launch(executable_, stream.get()) == success;
}

void RecordedGraph::clear() {
  if (executable_ != nullptr)
    gpu_->release_on().graph_executable_destroy(std::exchange(executable_, nullptr));
}

}  // namespace fgdm::cuda
