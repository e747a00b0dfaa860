#include "cuda_memory.hpp"

#include <utility>

namespace fgdm::cuda {
namespace {

// A moment in a stream's work, which other streams can wait for.
class Moment {
public:
  Moment(std::shared_ptr<const Gpu> gpu, Stream stream) : gpu_(std::move(gpu)) {
    gpu_->check(gpu_->driver().event_create(&event_, event_disable_timing), "creating an event");
    const auto recorded = gpu_->driver().event_record(event_, stream);
    if (recorded != success)
      gpu_->driver().event_destroy(event_);
    gpu_->check(recorded, "recording an event");
  }
  ~Moment() { gpu_->release_on().event_destroy(event_); }
  Moment(const Moment&) = delete;
  Moment& operator=(const Moment&) = delete;

  void wait_on(Stream stream) const {
    gpu_->check(gpu_->driver().stream_wait_event(stream, event_, 0), "waiting for an event");
  }

private:
  std::shared_ptr<const Gpu> gpu_;
  Event event_ = nullptr;
};

// Threads of others use this: each finds its own GPU current again.
class Memory final : public SharedMemory {
public:
  Memory(std::shared_ptr<const Gpu> gpu, std::byte* data, std::size_t bytes,
         std::shared_ptr<void> owner)
      : gpu_(std::move(gpu)), data_(data), bytes_(bytes), owner_(std::move(owner)) {}

  ~Memory() override {
    const CallersContext kept(&gpu_->driver());
    written_.reset();
  }
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;

  void written_on(Stream stream) { written_ = std::make_unique<Moment>(gpu_, stream); }

  std::byte* data() const override { return data_; }
  int gpu() const override { return gpu_->ordinal(); }

  void wait_on(void* stream) const override {
    const CallersContext kept(&gpu_->driver());
    gpu_->make_current();
    written_->wait_on(static_cast<Stream>(stream));
  }

  void read(void* to) const override {
    const CallersContext kept(&gpu_->driver());
    gpu_->make_current();
    const WorkStream queue(gpu_);
    written_->wait_on(queue.get());
    queue.download(static_cast<std::byte*>(to), data_, bytes_);
    queue.synchronize();
  }

  std::shared_ptr<const SharedMemory> copied() const override {
    const CallersContext kept(&gpu_->driver());
    gpu_->make_current();
    auto* const made = allocate_memory(*gpu_, bytes_);
    auto owner = freed_by_the_last(gpu_, made);
    const WorkStream queue(gpu_);
    written_->wait_on(queue.get());
    queue.copy(made, data_, bytes_);
    auto copy = shared_memory(gpu_, made, bytes_, std::move(owner), queue.get());
    queue.synchronize();  // the stream ends here
    return copy;
  }

private:
  std::shared_ptr<const Gpu> gpu_;
  std::byte* data_;
  std::size_t bytes_;
  std::shared_ptr<void> owner_;
  std::unique_ptr<Moment> written_;
};

}  // namespace

std::shared_ptr<const SharedMemory> shared_memory(std::shared_ptr<const Gpu> gpu, std::byte* data,
                                                  std::size_t bytes, std::shared_ptr<void> owner,
                                                  Stream stream) {
  const CallersContext kept(&gpu->driver());
  gpu->make_current();
  auto memory = std::make_shared<Memory>(gpu, data, bytes, std::move(owner));
  memory->written_on(stream);
  return memory;
}

std::shared_ptr<void> freed_by_the_last(std::shared_ptr<const Gpu> gpu, std::byte* memory) {
  return {memory, [gpu = std::move(gpu)](std::byte* freed) {
            const CallersContext kept(&gpu->driver());
            free_memory(*gpu, freed);
          }};
}

}  // namespace fgdm::cuda
