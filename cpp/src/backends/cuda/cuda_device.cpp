#include "cuda_device.hpp"

#include <string>
#include <utility>

#include "cuda_memory.hpp"
#include "fgdm/error.hpp"
#include "row_buffer.hpp"
#include "step_row.hpp"

namespace fgdm {
namespace {

// Arrays one after another in a block, each where a kernel may read it.
class Parts {
public:
  // Where an array of so many bytes begins.
  std::size_t add(std::size_t bytes) {
    const auto begin = end_;
    end_ += cuda::aligned(bytes);
    return begin;
  }
  std::size_t bytes() const { return end_; }

private:
  std::size_t end_ = 0;
};

}  // namespace

CudaDevice::~CudaDevice() {
  trim();
}

// Freeing waits for the work that uses it.
void CudaDevice::trim() noexcept {
  for (const auto& [bytes, memory] : spare_)
    cuda::free_memory(*gpu_, memory);
  spare_.clear();
}

const cuda::WorkStream& CudaDevice::stream() const {
  gpu_->make_current();
  return *stream_;
}

void CudaDevice::check_launch(int error, const char* kernel) const {
  if (error != 0)
    throw BackendError(
        std::string("launching ") + kernel + ": CUDA error " + std::to_string(error) +
        "; libfgdm_kernels.so must be built for this GPU's architecture, with a CUDA "
        "toolkit that its driver supports");
}

std::byte* CudaDevice::allocate(std::size_t bytes) {
  const auto& queue = stream();
  std::byte* memory = nullptr;
  if (const auto found = spare_.find(bytes); found != spare_.end()) {
    memory = found->second;
    spare_.erase(found);
  } else {
    try {
      memory = cuda::allocate_memory(*gpu_, bytes);
    } catch (const OutOfMemoryError&) {
      trim();
      memory = cuda::allocate_memory(*gpu_, bytes);
    }
  }
  try {
    queue.clear(memory, bytes);
  } catch (...) {
    release(memory, bytes);
    throw;
  }
  return memory;
}

void CudaDevice::release(std::byte* memory, std::size_t bytes) noexcept {
  if (memory == nullptr)
    return;
  try {
    spare_.emplace(bytes, memory);
  } catch (const std::exception&) {
    cuda::free_memory(*gpu_, memory);
  }
}

void CudaDevice::upload(std::byte* to, const void* from, std::size_t bytes) {
  const auto& queue = stream();
  queue.upload(to, static_cast<const std::byte*>(from), bytes);
  queue.synchronize();
}

void CudaDevice::download(void* to, const std::byte* from, std::size_t bytes) {
  const auto& queue = stream();
  queue.download(static_cast<std::byte*>(to), from, bytes);
  queue.synchronize();
}

void CudaDevice::copy(std::byte* to, const std::byte* from, std::size_t bytes) {
  stream().copy(to, from, bytes);
}

void CudaDevice::clear(std::byte* at, std::size_t bytes) {
  stream().clear(at, bytes);
}

void CudaDevice::finish() {
  stream().synchronize();
}

void CudaDevice::add(DType dtype, std::byte* total, const std::byte* term, std::size_t elements) {
  const auto type = dtype == DType::float32 ? FGDM_FLOAT32 : FGDM_FLOAT16;
  check_launch(
      kernels_.accumulate(type, static_cast<long long>(elements), total, term, stream().get()),
      "accumulate");
}

std::vector<bool> CudaDevice::guided_step(std::span<const StepRow> rows, std::size_t elements,
                                          const std::byte* noise, std::byte* sample,
                                          std::byte* x0) {
  std::vector<fgdm_step_row> steps;
  for (const auto& row : rows)
    steps.push_back(step_row(row.coefficients, row.positive, row.negative, row.guidance_scale));
  std::vector<int> nonfinite(rows.size());
  Parts parts;
  const auto steps_at = parts.add(steps.size() * sizeof(fgdm_step_row));
  const auto flags_at = parts.add(nonfinite.size() * sizeof(int));
  const auto& queue = stream();
  scratch_.reserve(parts.bytes());
  auto* const device_steps = scratch_.data() + steps_at;
  auto* const device_flags = scratch_.data() + flags_at;
  upload(device_steps, steps.data(), steps.size() * sizeof(fgdm_step_row));
  clear(device_flags, nonfinite.size() * sizeof(int));

  const fgdm_step_shape shape{static_cast<int>(rows.size()), static_cast<int>(elements),
                              FGDM_FLOAT32, FGDM_FLOAT32};
  check_launch(kernels_.guided_step(&shape, reinterpret_cast<const fgdm_step_row*>(device_steps),
                                    noise, reinterpret_cast<float*>(sample),
                                    reinterpret_cast<float*>(x0), nullptr,
                                    reinterpret_cast<int*>(device_flags), queue.get()),
               "guided_step");
  download(nonfinite.data(), device_flags, nonfinite.size() * sizeof(int));
  std::vector<bool> finite;
  for (const int flag : nonfinite)
    finite.push_back(flag == 0);
  return finite;
}

LabelMaps CudaDevice::label(const Palette& palette, const std::byte* pictures, std::size_t maps,
                            int height, int width) {
  std::vector<unsigned char> colors;
  for (const auto& entry : palette.classes())
    colors.insert(colors.end(), entry.color.begin(), entry.color.end());
  const auto classes = palette.classes().size();
  const auto pixels = maps * static_cast<std::size_t>(height) * static_cast<std::size_t>(width);
  Parts parts;
  const auto colors_at = parts.add(colors.size());
  const auto requested_at = parts.add(maps * classes);
  const auto labels_at = parts.add(pixels);
  const auto areas_at = parts.add(maps * classes * sizeof(int));
  const auto recall_at = parts.add(maps * sizeof(fgdm_map_recall));
  const auto& queue = stream();
  scratch_.reserve(parts.bytes());
  std::byte* const memory = scratch_.data();
  upload(memory + colors_at, colors.data(), colors.size());
  clear(memory + requested_at, maps * classes);

  const auto decode = [&](int tolerance) {
    const fgdm_labels_shape shape{static_cast<int>(maps),
                                  height,
                                  width,
                                  static_cast<int>(classes),
                                  tolerance,
                                  0.0,
                                  FGDM_FLOAT32,
                                  FGDM_DECODE_NEAREST};
    const auto bytes_at = [&](std::size_t at) {
      return reinterpret_cast<unsigned char*>(memory + at);
    };
    check_launch(
        kernels_.decode_labels(&shape, pictures, bytes_at(colors_at), bytes_at(requested_at),
                               bytes_at(labels_at), reinterpret_cast<int*>(memory + areas_at),
                               reinterpret_cast<fgdm_map_recall*>(memory + recall_at), queue.get()),
        "decode_labels");
    std::vector<std::uint8_t> labels(pixels);
    download(labels.data(), memory + labels_at, pixels);
    return labels;
  };
  return {decode(palette.tolerance()), decode(255)};
}

void CudaDevice::spread(const std::byte* rgb, int height, int width, Levels levels,
                        std::byte* planes) {
  check_launch(kernels_.picture_to_planes(height, width, levels == Levels::centred ? 1 : 0,
                                          reinterpret_cast<const unsigned char*>(rgb),
                                          reinterpret_cast<float*>(planes), stream().get()),
               "picture_to_planes");
  finish();
}

bool CudaDevice::paint(const std::byte* planes, int height, int width, const KeptPixels& kept,
                       std::byte* rgb) {
  const auto& queue = stream();
  int nonfinite = 0;
  scratch_.reserve(sizeof nonfinite);
  clear(scratch_.data(), sizeof nonfinite);
  check_launch(kernels_.planes_to_picture(height, width, reinterpret_cast<const float*>(planes),
                                          reinterpret_cast<const unsigned char*>(kept.original),
                                          reinterpret_cast<const unsigned char*>(kept.anew),
                                          reinterpret_cast<unsigned char*>(rgb),
                                          reinterpret_cast<int*>(scratch_.data()), queue.get()),
               "planes_to_picture");
  download(&nonfinite, scratch_.data(), sizeof nonfinite);
  return nonfinite == 0;
}

std::shared_ptr<const SharedMemory> CudaDevice::adopt(std::byte* data, std::size_t bytes,
                                                      std::shared_ptr<void> owner) const {
  return cuda::shared_memory(gpu_, data, bytes, std::move(owner), exchange_.get());
}

void CudaDevice::await(const SharedMemory& memory) {
  memory.wait_on(stream().get());
}

std::shared_ptr<const SharedMemory> CudaDevice::give(std::byte* memory, std::size_t bytes) {
  return cuda::shared_memory(gpu_, memory, bytes, cuda::freed_by_the_last(gpu_, memory),
                             stream().get());
}

void try_kernels(const std::shared_ptr<Device>& device) {
  constexpr std::size_t elements = 4;
  const RowBuffer row(device, DType::float32, {elements}, 1);
  device->add(DType::float32, row.data(), row.data(), elements);
  device->finish();
}

std::shared_ptr<Device> rows_on(std::shared_ptr<const cuda::Gpu> gpu,
                                std::shared_ptr<const cuda::WorkStream> stream,
                                std::vector<std::string>& notes) {
  try {
    auto device = std::make_shared<CudaDevice>(std::move(gpu), std::move(stream), cuda::kernels());
    try_kernels(device);
    return device;
  } catch (const BackendError& error) {
    notes.push_back(std::string("rows pass through the host's memory: ") + error.what());
    return host_device();
  }
}

}  // namespace fgdm
