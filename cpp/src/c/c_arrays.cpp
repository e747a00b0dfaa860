#include "c_arrays.hpp"

#include <algorithm>
#include <cstring>
#include <string>
#include <string_view>

#include "c_status.hpp"
#include "wording.hpp"

namespace fgdm::c {
namespace {

// Elements of any array that a request can have use; more would be a mistake.
constexpr std::int64_t most_elements = std::int64_t{1} << 31;

[[noreturn]] void refuse_array(const fgdm_array& array, const std::string& expected) {
  const auto rank = static_cast<std::size_t>(std::clamp(array.rank, 0, 4));
  throw RequestError(excerpt(array.name) + " is " +
                     (array.type == FGDM_UINT8 ? "uint8" : "float32") + " of shape " +
                     shown_extents({array.shape, rank}) + ", expected " + expected);
}

std::size_t elements_of(const fgdm_array& array, const std::string& expected) {
  std::int64_t count = 1;
  for (int i = 0; i < array.rank; ++i) {
    if (array.shape[i] < 1 || array.shape[i] > most_elements / count)
      refuse_array(array, expected);
    count *= array.shape[i];
  }
  return static_cast<std::size_t>(count);
}

// RGB, or one byte a pixel, whichever of the two is wanted.
Pixels pixels_of(const fgdm_array& array, bool may_be_rgb, bool may_be_flat) {
  const std::string expected =
      std::string("uint8 of shape ") + (may_be_rgb ? "(height, width, 3)" : "") +
      (may_be_rgb && may_be_flat ? " or " : "") + (may_be_flat ? "(height, width)" : "");
  const bool rgb = may_be_rgb && array.rank == 3 && array.shape[2] == 3;
  const bool flat = may_be_flat && array.rank == 2;
  if (array.type != FGDM_UINT8 || (!rgb && !flat))
    refuse_array(array, expected);
  const auto count = elements_of(array, expected);
  const auto* data = static_cast<const std::uint8_t*>(array.data);
  return {static_cast<int>(array.shape[0]), static_cast<int>(array.shape[1]), {data, data + count}};
}

void take_latents(const fgdm_array& array, std::vector<float>& latents,
                  std::vector<std::int64_t>& shape) {
  const std::string expected = "float32 of shape (rows, channels, height, width)";
  if (array.type != FGDM_FLOAT32 || array.rank != 4)
    refuse_array(array, expected);
  latents.resize(elements_of(array, expected));
  std::memcpy(latents.data(), array.data, latents.size() * sizeof(float));
  shape.assign(array.shape, array.shape + array.rank);
}

// A factor's, of a name that has "factors." before it.
void set_factor_array(Request& request, const fgdm_array& array, std::string_view rest) {
  const auto dot = rest.rfind('.');
  const auto name = std::string(rest.substr(0, dot));
  const auto what = dot == std::string_view::npos ? "" : rest.substr(dot + 1);
  auto& factor = request.factors[name];
  if (factor.left_out)
    throw RequestError(excerpt(array.name) + " is given, but factors." + excerpt(name) +
                       " is null, which leaves the factor out");
  if (what == "map")
    factor.map = pixels_of(array, true, true);
  else if (what == "latents")
    take_latents(array, factor.latents, factor.latents_shape);
  else
    throw RequestError("there is no array " + excerpt(array.name) +
                       "; of a factor there are factors.NAME.map and factors.NAME.latents");
}

void set_array(Request& request, const fgdm_array& array) {
  const std::string_view name(&required(array.name, "the name of an array"));
  required(static_cast<const char*>(array.data), array.name);
  constexpr std::string_view control = "control_images.", factor = "factors.";
  if (name == "image")
    request.image = pixels_of(array, true, false);
  else if (name == "mask")
    request.mask = pixels_of(array, false, true);
  else if (name == "latents")
    take_latents(array, request.latents, request.latents_shape);
  else if (name == "condition_latents")
    take_latents(array, request.condition_latents, request.condition_latents_shape);
  else if (name.starts_with(control))
    request.control_images[std::string(name.substr(control.size()))] =
        pixels_of(array, true, false);
  else if (name.starts_with(factor))
    set_factor_array(request, array, name.substr(factor.size()));
  else
    throw RequestError("there is no array " + excerpt(name) +
                       "; there are image, mask, latents, condition_latents, control_images.NAME, "
                       "factors.NAME.map and factors.NAME.latents");
}

}  // namespace

void set_arrays(Request& request, std::span<const fgdm_array> arrays) {
  for (const auto& array : arrays)
    set_array(request, array);
}

fgdm_pixels lent(const Pixels& pixels) {
  if (pixels.data.empty())
    return {};
  const auto area =
      static_cast<std::size_t>(pixels.height) * static_cast<std::size_t>(pixels.width);
  return {pixels.height, pixels.width, pixels.data.size() == area ? 1 : 3, pixels.data.data()};
}

}  // namespace fgdm::c
