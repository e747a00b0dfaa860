#include "painting.hpp"

#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "decoding.hpp"
#include "device_inputs.hpp"
#include "editing.hpp"

namespace fgdm {
namespace {

// What stays of an image: the pixels of `original`, or of the request's image on the device, where
// `anew` is 0. Without `anew` nothing does.
struct Stays {
  std::vector<std::uint8_t> anew;
  std::span<const std::uint8_t> original;
};

Stays stays_of(const Request& request, const Trajectory* image) {
  if (image == nullptr)
    return {};
  if (image->run->keeps_unedited())
    return {touched_pixels(*image), image->run->editing->inversion->picture.data};
  return {request.mask.data, request.image.data};
}

RowBuffer uploaded(const std::shared_ptr<Device>& device, std::span<const std::uint8_t> bytes) {
  RowBuffer buffer(device, DType::uint8, {static_cast<std::int64_t>(bytes.size())}, 1);
  buffer.write(bytes);
  return buffer;
}

}  // namespace

bool Painting::take(const FactorRun& run, const Trajectory* image, const RowBuffer& pictures,
                    std::size_t row) {
  return request_.keep_on_device ? keep_there(run, image, pictures, row)
                                 : take_to_host(run, image, pictures, row);
}

bool Painting::take_to_host(const FactorRun& run, const Trajectory* image,
                            const RowBuffer& pictures, std::size_t row) {
  auto picture = rgb_of(pictures, row, run.size);
  if (!picture)
    return false;
  const auto [anew, original] = stays_of(request_, image);
  if (!anew.empty()) {
    std::vector<std::uint8_t> from_device;
    if (original.empty())
      from_device = bytes_of(request_.image_on_device, *graphs_.device());
    put_back(anew, original.empty() ? from_device : original, picture->data);
  }
  result_.image = std::move(*picture);
  return true;
}

bool Painting::keep_there(const FactorRun& run, const Trajectory* image, const RowBuffer& pictures,
                          std::size_t row) {
  const auto& device = graphs_.device();
  const auto& size = run.size;
  RowBuffer painted(device, DType::uint8, {size.height, size.width, 3}, 1);
  const auto [anew, original] = stays_of(request_, image);
  RowBuffer mask, given;
  KeptPixels kept;
  if (!anew.empty()) {
    mask = uploaded(device, anew);
    kept.anew = mask.data();
    if (original.empty()) {
      device->await(*request_.image_on_device.memory);
      kept.original = request_.image_on_device.memory->data();
    } else {
      given = uploaded(device, original);
      kept.original = given.data();
    }
  }
  if (!device->paint(pictures.data(row), size.height, size.width, kept, painted.data()))
    return false;
  result_.image_on_device = std::move(painted).give(picture_shape(size));
  return true;
}

void Painting::take_latents(const FactorRun& run, RowBuffer latents) {
  if (request_.keep_on_device)
    result_.latents_on_device = std::move(latents).give(latents_shape(manifest_, run.size, 1));
}

}  // namespace fgdm
