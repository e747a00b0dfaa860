#include "request.hpp"

#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include "fgdm/error.hpp"
#include "request_json.hpp"

namespace py = pybind11;

namespace fgdm::python {
namespace {

using FloatArray = py::array_t<float, py::array::c_style | py::array::forcecast>;

template <typename T> T converted(const py::object& value, const std::string& name) {
  try {
    return value.cast<T>();
  } catch (const py::cast_error&) {
    throw RequestError(name + " is " + py::repr(value).cast<std::string>() +
                       ", which is of the wrong type or out of range");
  }
}

// Takes an option out of the dictionary, converted, if it is there and not None.
template <typename T> std::optional<T> take(py::dict& options, const char* name) {
  if (!options.contains(name))
    return std::nullopt;
  const py::object value = options.attr("pop")(name);
  return value.is_none() ? std::nullopt : std::optional(converted<T>(value, name));
}

// Takes an array out that lies on the device, if the option is one.
DeviceArray take_device_array(py::dict& options, const char* name) {
  if (!options.contains(name) || !py::isinstance<DeviceArray>(options[name]))
    return {};
  return options.attr("pop")(name).cast<DeviceArray>();
}

struct Latents {
  std::vector<float> values;
  std::vector<std::int64_t> shape;
};

Latents take_latents(py::dict& options, const char* name) {
  const auto array = take<FloatArray>(options, name);
  if (!array)
    return {};
  if (array->ndim() != 4)
    throw RequestError(std::string(name) + " has " + std::to_string(array->ndim()) +
                       " dimensions, expected 4: (rows, channels, height, width)");
  return {{array->data(), array->data() + array->size()},
          {array->shape(), array->shape() + array->ndim()}};
}

using ByteArray = py::array_t<std::uint8_t, py::array::c_style>;

// A picture (height, width, 3), or one byte a pixel (height, width).
Pixels take_pixels(py::dict& options, const char* name) {
  const auto array = take<ByteArray>(options, name);
  if (!array)
    return {};
  if (array->ndim() != 2 && (array->ndim() != 3 || array->shape(2) != 3))
    throw RequestError(std::string(name) + " is neither (height, width, 3) nor (height, width)");
  return {static_cast<int>(array->shape(0)),
          static_cast<int>(array->shape(1)),
          {array->data(), array->data() + array->size()}};
}

// Those on the device go to `on_device`.
std::map<std::string, Pixels> take_images(py::dict& options, const char* name,
                                          std::map<std::string, DeviceArray>& on_device) {
  std::map<std::string, Pixels> images;
  for (const auto& [key, value] : take<std::map<std::string, py::object>>(options, name)
                                      .value_or(std::map<std::string, py::object>{})) {
    if (py::isinstance<DeviceArray>(value)) {
      on_device[key] = value.cast<DeviceArray>();
      continue;
    }
    const auto which = std::string(name) + "[\"" + key + "\"]";
    const auto array = converted<ByteArray>(value, which);
    if (array.ndim() != 3 || array.shape(2) != 3)
      throw RequestError(which + " is not (height, width, 3)");
    images[key] = {static_cast<int>(array.shape(0)),
                   static_cast<int>(array.shape(1)),
                   {array.data(), array.data() + array.size()}};
  }
  return images;
}

// A plain value as JSON, which the core reads.
nlohmann::json json_of(const py::handle& value) {
  if (value.is_none())
    return nullptr;
  if (py::isinstance<py::bool_>(value))
    return value.cast<bool>();
  if (py::isinstance<py::int_>(value)) {
    if (value >= py::int_(0))
      return value.cast<std::uint64_t>();
    return value.cast<std::int64_t>();
  }
  if (py::isinstance<py::float_>(value))
    return value.cast<double>();
  if (py::isinstance<py::str>(value))
    return value.cast<std::string>();
  if (py::isinstance<py::dict>(value)) {
    auto object = nlohmann::json::object();
    for (const auto& [key, item] : value.cast<py::dict>())
      object[key.cast<std::string>()] = json_of(item);
    return object;
  }
  if (!py::isinstance<py::list>(value) && !py::isinstance<py::tuple>(value))
    throw RequestError("an option is " + py::repr(value).cast<std::string>() +
                       ", which has no form in JSON");
  auto list = nlohmann::json::array();
  for (const auto& item : value.cast<py::sequence>())
    list.push_back(json_of(item));
  return list;
}

}  // namespace

py::object python_of(const nlohmann::ordered_json& value) {
  if (value.is_object()) {
    py::dict object;
    for (const auto& [key, item] : value.items())
      object[py::str(key)] = python_of(item);
    return object;
  }
  if (value.is_array()) {
    py::list list;
    for (const auto& item : value)
      list.append(python_of(item));
    return list;
  }
  if (value.is_string())
    return py::str(value.get<std::string>());
  if (value.is_boolean())
    return py::bool_(value.get<bool>());
  if (value.is_number_unsigned())
    return py::int_(value.get<std::uint64_t>());
  if (value.is_number_integer())
    return py::int_(value.get<std::int64_t>());
  if (value.is_number())
    return py::float_(value.get<double>());
  return py::none();
}

Request request_from(const std::string& prompt, const py::kwargs& given) {
  // What is no JSON, or was made text of JSON before, is set beside it.
  py::dict options = given.attr("copy")();
  Request arrays;
  arrays.latents_on_device = take_device_array(options, "latents");
  arrays.condition_latents_on_device = take_device_array(options, "condition_latents");
  arrays.image_on_device = take_device_array(options, "image");
  auto latents = take_latents(options, "latents");
  auto condition_latents = take_latents(options, "condition_latents");
  auto control_images = take_images(options, "control_images", arrays.control_images_on_device);
  auto image = take_pixels(options, "image"), mask = take_pixels(options, "mask");
  auto requirements = take<std::string>(options, "requirements");
  auto forbid = take<std::string>(options, "forbid").value_or("");
  const bool keep_on_device = take<bool>(options, "keep_on_device").value_or(false);
  std::map<std::string, Pixels> maps;
  std::map<std::string, Latents> map_latents;
  py::dict factors;
  for (const auto& [name, value] : take<std::map<std::string, py::object>>(options, "factors")
                                       .value_or(std::map<std::string, py::object>{})) {
    if (value.is_none()) {
      factors[py::str(name)] = value;
      continue;
    }
    py::dict own = value.attr("copy")();
    maps[name] = take_pixels(own, "map");
    arrays.factors[name].latents_on_device = take_device_array(own, "latents");
    map_latents[name] = take_latents(own, "latents");
    factors[py::str(name)] = own;
  }
  options["prompt"] = prompt;
  options["factors"] = factors;

  auto request = fgdm::request_from(json_of(options));
  request.latents = std::move(latents.values);
  request.latents_shape = std::move(latents.shape);
  request.condition_latents = std::move(condition_latents.values);
  request.condition_latents_shape = std::move(condition_latents.shape);
  request.control_images = std::move(control_images);
  request.image = std::move(image);
  request.mask = std::move(mask);
  request.requirements = std::move(requirements);
  request.forbid = std::move(forbid);
  request.keep_on_device = keep_on_device;
  request.latents_on_device = std::move(arrays.latents_on_device);
  request.condition_latents_on_device = std::move(arrays.condition_latents_on_device);
  request.image_on_device = std::move(arrays.image_on_device);
  request.control_images_on_device = std::move(arrays.control_images_on_device);
  for (auto& [name, map] : maps) {
    request.factors[name].map = std::move(map);
    request.factors[name].latents = std::move(map_latents[name].values);
    request.factors[name].latents_shape = std::move(map_latents[name].shape);
    request.factors[name].latents_on_device = std::move(arrays.factors[name].latents_on_device);
  }
  return request;
}

py::object python_parameters_of(const Request& request) {
  return python_of(fgdm::parameters_of(request));
}

}  // namespace fgdm::python
