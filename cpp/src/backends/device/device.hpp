#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "fgdm/device_array.hpp"
#include "fgdm/palette.hpp"
#include "fgdm/sampler.hpp"
#include "fgdm/session.hpp"

namespace fgdm {

// How one row of a batch advances: which rows of the predicted noise it is guided by, and its
// sampler's step.
struct StepRow {
  int positive;
  int negative;  // -1: unguided
  float guidance_scale;
  StepCoefficients coefficients;
};

// Maps as labels, one byte a pixel, on the host.
struct LabelMaps {
  std::vector<std::uint8_t> labels;   // `unlabeled` where no colour is within tolerance
  std::vector<std::uint8_t> snapped;  // the nearest colour's, however far
};

// What a picture's bytes become: 0..1, as control images, or -1..1, as the autoencoder takes them.
enum class Levels { unit, centred };

// What stays of a picture that is painted over: the pixels (height, width, 3) of `original` where
// `anew` (height, width) is 0. Both are on the device; nullptr: nothing stays.
struct KeptPixels {
  const std::byte* original = nullptr;
  const std::byte* anew = nullptr;
};

// Where tensors lie between the graphs of the chain, and what is computed there: on the host, or on
// a GPU, where latents, embeddings and residuals stay. One thread uses it. All functions throw
// BackendError or OutOfMemoryError where the device fails.
class Device {
public:
  virtual ~Device() = default;

  virtual Place place() const = 0;

  // Memory of zeros. release() takes what allocate() gave, and nullptr.
  virtual std::byte* allocate(std::size_t bytes) = 0;
  virtual void release(std::byte* memory, std::size_t bytes) noexcept = 0;

  // Gives back what was released and kept for later.
  virtual void trim() noexcept = 0;

  // From the host, to the host, within the device. `from` may be used again when upload() returns,
  // and `to` holds the bytes when download() returns.
  virtual void upload(std::byte* to, const void* from, std::size_t bytes) = 0;
  virtual void download(void* to, const std::byte* from, std::size_t bytes) = 0;
  virtual void copy(std::byte* to, const std::byte* from, std::size_t bytes) = 0;
  virtual void clear(std::byte* at, std::size_t bytes) = 0;

  // total += term, of float32 or float16.
  virtual void add(DType dtype, std::byte* total, const std::byte* term, std::size_t elements) = 0;

  // Guidance (combine()) and one sampler step (sampler_step()) for every row, of `elements` float32
  // each: `noise` has the rows that `rows` speaks of, `sample` and `x0` one for each of `rows`.
  // Whether each row's new sample is finite.
  virtual std::vector<bool> guided_step(std::span<const StepRow> rows, std::size_t elements,
                                        const std::byte* noise, std::byte* sample,
                                        std::byte* x0) = 0;

  // Labels decoded pictures (maps, 3, height, width), float32 in -1 to 1, by a palette.
  virtual LabelMaps label(const Palette& palette, const std::byte* pictures, std::size_t maps,
                          int height, int width) = 0;

  // Pictures' bytes (height, width, 3) as planes (3, height, width) of float32. They have been read
  // when this returns.
  virtual void spread(const std::byte* rgb, int height, int width, Levels levels,
                      std::byte* planes) = 0;

  // A decoded picture (3, height, width), float32 in -1 to 1, as bytes (height, width, 3). Whether
  // it is finite.
  virtual bool paint(const std::byte* planes, int height, int width, const KeptPixels& kept,
                     std::byte* rgb) = 0;

  // Waits for all of the above.
  virtual void finish() = 0;

  // How arrays come here. This and adopt() may be called from any thread.
  virtual Exchange exchange() const = 0;

  // An array of somebody else's on this device, which `owner` keeps, and which is written when what
  // exchange()'s stream waits for now is done.
  virtual std::shared_ptr<const SharedMemory> adopt(std::byte* data, std::size_t bytes,
                                                    std::shared_ptr<void> owner) const = 0;

  // Lets all that follows wait until memory on this device is written.
  virtual void await(const SharedMemory& memory) = 0;

  // What allocate() gave goes to whoever holds it, with what is written there so far; nobody
  // releases it any more, even where this throws.
  virtual std::shared_ptr<const SharedMemory> give(std::byte* memory, std::size_t bytes) = 0;
};

// Whether there is neither NaN nor infinity.
bool all_finite(std::span<const float> values);

// The one that computes on the host.
std::shared_ptr<Device> host_device();

}  // namespace fgdm
