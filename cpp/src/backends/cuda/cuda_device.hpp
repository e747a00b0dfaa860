#pragma once

#include <map>
#include <string>
#include <vector>

#include "cuda_gpu.hpp"
#include "cuda_kernels.hpp"
#include "device.hpp"

namespace fgdm {

// Rows in a GPU's memory, and fgdm's kernels between the graphs. Everything is queued on one
// stream; upload(), download(), guided_step(), label(), spread() and paint() wait for it: CUDA
// doesn't promise when it has read ordinary host memory. Memory that is released is kept for the
// next who asks for as much, until trim().
class CudaDevice final : public Device {
public:
  CudaDevice(std::shared_ptr<const cuda::Gpu> gpu, std::shared_ptr<const cuda::WorkStream> stream,
             const cuda::Kernels& kernels)
      : gpu_(gpu), stream_(std::move(stream)), exchange_(gpu), kernels_(kernels),
        scratch_(std::move(gpu), cuda::Block::Place::device) {}
  ~CudaDevice() override;
  CudaDevice(const CudaDevice&) = delete;
  CudaDevice& operator=(const CudaDevice&) = delete;

  Place place() const override { return Place::gpu; }
  std::byte* allocate(std::size_t bytes) override;
  void release(std::byte* memory, std::size_t bytes) noexcept override;
  void trim() noexcept override;
  void upload(std::byte* to, const void* from, std::size_t bytes) override;
  void download(void* to, const std::byte* from, std::size_t bytes) override;
  void copy(std::byte* to, const std::byte* from, std::size_t bytes) override;
  void clear(std::byte* at, std::size_t bytes) override;
  void add(DType dtype, std::byte* total, const std::byte* term, std::size_t elements) override;
  std::vector<bool> guided_step(std::span<const StepRow> rows, std::size_t elements,
                                const std::byte* noise, std::byte* sample, std::byte* x0) override;
  LabelMaps label(const Palette& palette, const std::byte* pictures, std::size_t maps, int height,
                  int width) override;
  void spread(const std::byte* rgb, int height, int width, Levels levels,
              std::byte* planes) override;
  bool paint(const std::byte* planes, int height, int width, const KeptPixels& kept,
             std::byte* rgb) override;
  void finish() override;
  Exchange exchange() const override { return {gpu_->ordinal(), exchange_.get()}; }
  std::shared_ptr<const SharedMemory> adopt(std::byte* data, std::size_t bytes,
                                            std::shared_ptr<void> owner) const override;
  void await(const SharedMemory& memory) override;
  std::shared_ptr<const SharedMemory> give(std::byte* memory, std::size_t bytes) override;

private:
  // The stream, on whatever thread this is.
  const cuda::WorkStream& stream() const;
  void check_launch(int error, const char* kernel) const;

  std::shared_ptr<const cuda::Gpu> gpu_;
  std::shared_ptr<const cuda::WorkStream> stream_;
  // Of its own: other threads' events would spoil a graph that is being recorded from stream_.
  cuda::WorkStream exchange_;
  const cuda::Kernels& kernels_;
  cuda::Block scratch_;  // what a kernel needs besides rows
  std::multimap<std::size_t, std::byte*> spare_;
};

// Runs a kernel. Throws BackendError where this GPU or its driver can't run fgdm's.
void try_kernels(const std::shared_ptr<Device>& device);

// Rows on this GPU, queued on `stream`. Without fgdm's kernels they pass through the host's memory,
// which is slower; why is added to `notes`.
std::shared_ptr<Device> rows_on(std::shared_ptr<const cuda::Gpu> gpu,
                                std::shared_ptr<const cuda::WorkStream> stream,
                                std::vector<std::string>& notes);

}  // namespace fgdm
