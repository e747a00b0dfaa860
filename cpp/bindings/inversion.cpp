#include "inversion.hpp"

#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include "fgdm/error.hpp"
#include "request.hpp"
#include "request_json.hpp"
#include "results.hpp"

namespace py = pybind11;

namespace fgdm::python {
namespace {

using FloatArray = py::array_t<float, py::array::c_style | py::array::forcecast>;
using ByteArray = py::array_t<std::uint8_t, py::array::c_style>;

std::vector<float> floats_of(const FloatArray& array) {
  return {array.data(), array.data() + array.size()};
}

Pixels pixels_of(const ByteArray& array) {
  if (array.ndim() != 2 && (array.ndim() != 3 || array.shape(2) != 3))
    throw RequestError("a picture is neither (height, width, 3) nor (height, width)");
  return {static_cast<int>(array.shape(0)),
          static_cast<int>(array.shape(1)),
          {array.data(), array.data() + array.size()}};
}

template <typename T> T field(const py::dict& fields, const char* name) {
  if (!fields.contains(name))
    throw RequestError("editing has no \"" + std::string(name) + "\"");
  const py::object value = fields[name];
  try {
    return value.cast<T>();
  } catch (const py::cast_error&) {
    throw RequestError(std::string(name) + " is " + py::repr(value).cast<std::string>() +
                       ", which is of the wrong type or out of range");
  }
}

InversionSettings settings_from(const py::dict& fields) {
  InversionSettings settings;
  settings.factor = field<std::string>(fields, "factor");
  settings.prompt = field<std::string>(fields, "prompt");
  settings.negative_prompt = field<std::string>(fields, "negative_prompt");
  settings.guidance_scale = field<double>(fields, "guidance_scale");
  const auto sampler = field<std::string>(fields, "sampler");
  if (const auto kind = sampler_kind(sampler))
    settings.sampler = *kind;
  else
    throw RequestError("sampler of the inversion is \"" + sampler +
                       "\", expected \"dpmsolver++_sde\" or \"ddim\"");
  settings.eta = field<double>(fields, "eta");
  if (const auto spacing = field<std::optional<std::string>>(fields, "timestep_spacing")) {
    settings.timestep_spacing = timestep_spacing(*spacing);
    if (!settings.timestep_spacing)
      throw RequestError("timestep_spacing of the inversion is \"" + *spacing + "\", expected " +
                         spacing_names());
  }
  settings.num_inference_steps = field<int>(fields, "num_inference_steps");
  settings.skip = field<double>(fields, "skip");
  return settings;
}

Edit edit_from(const py::dict& fields) {
  Edit edit;
  edit.prompt = field<std::string>(fields, "prompt");
  edit.away = field<bool>(fields, "away");
  edit.scale = field<double>(fields, "scale");
  edit.warm_up = field<int>(fields, "warm_up");
  edit.cool_down = field<std::optional<int>>(fields, "cool_down");
  edit.threshold = field<double>(fields, "threshold");
  edit.attention = field<bool>(fields, "attention");
  edit.region = field<std::string>(fields, "region");
  if (const auto mask = field<std::optional<ByteArray>>(fields, "mask"))
    edit.mask = pixels_of(*mask);
  return edit;
}

// Reads a member as a flat array.
auto floats_at(std::vector<float> Inversion::* member) {
  return [member](const Inversion& self) {
    const auto& values = self.*member;
    return py::array_t<float>(static_cast<py::ssize_t>(values.size()), values.data());
  };
}

}  // namespace

void bind_inversion(py::module_& module) {
  py::class_<Inversion, std::shared_ptr<Inversion>>(module, "Inversion")
      .def(py::init([](const py::dict& settings, std::string bundle, int height, int width,
                       const ByteArray& picture, const FloatArray& latents,
                       const FloatArray& remainders, const FloatArray& visited) {
             return std::make_shared<Inversion>(Inversion{
                 settings_from(settings), std::move(bundle), height, width, pixels_of(picture),
                 floats_of(latents), floats_of(remainders), floats_of(visited)});
           }),
           py::kw_only(), py::arg("settings"), py::arg("bundle"), py::arg("height"),
           py::arg("width"), py::arg("picture"), py::arg("latents"), py::arg("remainders"),
           py::arg("visited"))
      .def_property_readonly(
          "settings", [](const Inversion& self) { return python_of(parameters_of(self.settings)); })
      .def_readonly("bundle", &Inversion::bundle)
      .def_readonly("height", &Inversion::height)
      .def_readonly("width", &Inversion::width)
      .def_property_readonly("picture",
                             [](const Inversion& self) { return array_of(self.picture); })
      .def_property_readonly("latents", floats_at(&Inversion::latents))
      .def_property_readonly("remainders", floats_at(&Inversion::remainders))
      .def_property_readonly("visited", floats_at(&Inversion::visited));
}

std::optional<Editing> editing_from(const py::object& given) {
  if (given.is_none())
    return std::nullopt;
  const auto fields = given.cast<py::dict>();
  Editing editing;
  std::vector<Edit> edits;
  for (const auto& edit : field<std::vector<py::dict>>(fields, "edits"))
    edits.push_back(edit_from(edit));
  if (fields.contains("settings")) {
    editing.settings = settings_from(field<py::dict>(fields, "settings"));
    if (const auto noise = field<std::optional<FloatArray>>(fields, "noise"))
      editing.noise = floats_of(*noise);
    editing.following = std::move(edits);
    return editing;
  }
  editing.inversion = field<std::shared_ptr<Inversion>>(fields, "inversion");
  editing.edits = std::move(edits);
  editing.keep = field<bool>(fields, "keep");
  return editing;
}

}  // namespace fgdm::python
