#include "device_inputs.hpp"

#include "factor_run.hpp"
#include "fgdm/error.hpp"
#include "wording.hpp"

namespace fgdm {
namespace {

std::string place_of(int gpu) {
  return gpu < 0 ? "in the host's memory" : "on GPU " + std::to_string(gpu);
}

[[noreturn]] void refuse_values(const std::string& name) {
  throw RequestError(name + " holds a value that is not finite");
}

// Where an array of a request stands in it: an option, and in some of them an entry and its part.
struct ArrayPlace {
  const char* option;
  const std::string* entry = nullptr;
  const char* part = "";

  std::string worded() const {
    return entry == nullptr ? option : std::string(option) + "[\"" + *entry + "\"]" + part;
  }
};

// Every array of a request. It allocates nothing: requests end where memory has run out, too.
template <typename Of, typename Visit> void each_array(Of& request, const Visit& visit) {
  visit(ArrayPlace{"image"}, request.image_on_device);
  visit(ArrayPlace{"latents"}, request.latents_on_device);
  visit(ArrayPlace{"condition_latents"}, request.condition_latents_on_device);
  for (auto& [name, picture] : request.control_images_on_device)
    visit(ArrayPlace{"control_images", &name}, picture);
  for (auto& [name, options] : request.factors)
    visit(ArrayPlace{"factors", &name, " latents"}, options.latents_on_device);
}

}  // namespace

void check_array(const std::string& name, const DeviceArray& array, DType dtype,
                 const std::vector<std::int64_t>& shape, bool is_given_twice) {
  if (!array)
    return;
  if (is_given_twice)
    throw RequestError(name + " is given twice, on the host and on the device; give one");
  if (array.dtype != dtype || array.shape != shape)
    throw RequestError(name + " is an array of " + std::string(dtype_name(array.dtype)) +
                       " of shape " + shown_extents(array.shape) + ", expected " +
                       std::string(dtype_name(dtype)) + " of shape " + shown_extents(shape));
  if (array.memory == nullptr)
    throw RequestError(name + " is an array whose memory was given back; give it again");
}

std::vector<std::int64_t> picture_shape(const FactorSize& size) {
  return {size.height, size.width, 3};
}

std::vector<std::int64_t> latents_shape(const Manifest& manifest, const FactorSize& size,
                                        int rows) {
  return {rows, manifest.latent_channels, size.latent_height, size.latent_width};
}

void check_places(const Request& request, const Exchange& exchange) {
  each_array(request, [&](const ArrayPlace& place, const DeviceArray& array) {
    if (array.memory != nullptr && array.memory->gpu() != exchange.gpu)
      throw RequestError(place.worded() + " lies " + place_of(array.memory->gpu()) +
                         ", but what this engine's networks read lies " + place_of(exchange.gpu) +
                         "; give it there, or on the host");
  });
}

void release_arrays(Request& request) noexcept {
  each_array(request, [](const ArrayPlace&, DeviceArray& array) { array.memory.reset(); });
}

RowBuffer planes_of(const DeviceArray& picture, const FactorSize& size, Levels levels,
                    const std::shared_ptr<Device>& device) {
  RowBuffer planes(device, DType::float32, {3, size.height, size.width}, 1);
  device->await(*picture.memory);
  device->spread(picture.memory->data(), size.height, size.width, levels, planes.data());
  return planes;
}

// A sampler's step that does nothing but scale says, too, whether all numbers are finite.
RowBuffer scaled_latents(const std::string& name, const DeviceArray& latents, std::size_t row,
                         float scale, const Manifest& manifest, const FactorSize& size,
                         const std::shared_ptr<Device>& device) {
  const auto elements = latent_elements(manifest, size);
  const auto bytes = elements * sizeof(float);
  auto made = latent_buffer(device, manifest, size, 1);
  device->await(*latents.memory);
  device->copy(made.data(), latents.memory->data() + row * bytes, bytes);
  const RowBuffer noise(made);
  const RowBuffer x0(made);
  const StepRow step{0, -1, 1.0F, {0.0F, 0.0F, scale, 0.0F, 0.0F, 0.0F}};
  if (!device->guided_step({&step, 1}, elements, noise.data(), made.data(), x0.data()).front())
    refuse_values(name);
  return made;
}

std::vector<std::uint8_t> bytes_of(const DeviceArray& picture, Device& device) {
  std::vector<std::uint8_t> bytes(picture.bytes());
  device.await(*picture.memory);
  device.download(bytes.data(), picture.memory->data(), bytes.size());
  return bytes;
}

std::vector<float> latents_of(const std::string& name, const DeviceArray& latents, std::size_t row,
                              std::size_t elements, Device& device) {
  std::vector<float> values(elements);
  const auto bytes = elements * sizeof(float);
  device.await(*latents.memory);
  device.download(values.data(), latents.memory->data() + row * bytes, bytes);
  if (!all_finite(values))
    refuse_values(name);
  return values;
}

}  // namespace fgdm
