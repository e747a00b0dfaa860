#include "request.hpp"

#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include "fgdm/error.hpp"

namespace py = pybind11;

namespace fgdm::python {
namespace {

using FloatArray = py::array_t<float, py::array::c_style | py::array::forcecast>;

// Takes an option out of the dictionary, converted, if it is there and not None.
template <typename T> std::optional<T> take(py::dict& options, const char* name) {
  if (!options.contains(name))
    return std::nullopt;
  const py::object value = options.attr("pop")(name);
  if (value.is_none())
    return std::nullopt;
  try {
    return value.cast<T>();
  } catch (const py::cast_error&) {
    throw RequestError(std::string(name) + " is " + py::repr(value).cast<std::string>() +
                       ", which is of the wrong type or out of range");
  }
}

template <typename T> void take_into(py::dict& options, const char* name, T& target) {
  if (auto value = take<T>(options, name))
    target = std::move(*value);
}

void take_interval(py::dict& options, const char* name, Interval& target) {
  if (const auto given = take<std::pair<double, double>>(options, name))
    target = {given->first, given->second};
}

std::vector<float> take_latents(py::dict& options, const char* name) {
  const auto array = take<FloatArray>(options, name);
  if (!array)
    return {};
  if (array->ndim() != 4)
    throw RequestError(std::string(name) + " has " + std::to_string(array->ndim()) +
                       " dimensions, expected 4: (rows, channels, height, width)");
  return {array->data(), array->data() + array->size()};
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

std::map<std::string, Pixels> take_images(py::dict& options, const char* name) {
  std::map<std::string, Pixels> images;
  for (const auto& [key, array] : take<std::map<std::string, ByteArray>>(options, name)
                                      .value_or(std::map<std::string, ByteArray>{})) {
    if (array.ndim() != 3 || array.shape(2) != 3)
      throw RequestError(std::string(name) + "[\"" + key + "\"] is not (height, width, 3)");
    images[key] = {static_cast<int>(array.shape(0)),
                   static_cast<int>(array.shape(1)),
                   {array.data(), array.data() + array.size()}};
  }
  return images;
}

std::optional<SamplerKind> take_sampler(py::dict& options, const char* option) {
  const auto name = take<std::string>(options, option);
  if (!name)
    return std::nullopt;
  if (const auto kind = sampler_kind(*name))
    return kind;
  throw RequestError(std::string(option) + " is \"" + *name + "\", expected " + sampler_names());
}

std::optional<TimestepSpacing> take_spacing(py::dict& options, const char* option) {
  const auto name = take<std::string>(options, option);
  if (!name)
    return std::nullopt;
  if (const auto spacing = timestep_spacing(*name))
    return spacing;
  throw RequestError(std::string(option) + " is \"" + *name + "\", expected " + spacing_names());
}

std::optional<std::string> sampler_text(std::optional<SamplerKind> kind) {
  return kind ? std::optional(std::string(sampler_name(*kind))) : std::nullopt;
}

std::optional<std::string> spacing_text(std::optional<TimestepSpacing> spacing) {
  return spacing ? std::optional(std::string(spacing_name(*spacing))) : std::nullopt;
}

GuidanceKind guidance_from(const std::string& name) {
  if (name == "cfg")
    return GuidanceKind::cfg;
  if (name == "segfree")
    return GuidanceKind::segfree;
  throw RequestError("guidance is \"" + name + "\", expected \"segfree\" or \"cfg\"");
}

// None, or a dictionary of the factor's options.
FactorOptions factor_options_from(const std::string& factor, const py::object& given) {
  FactorOptions made;
  if (given.is_none()) {
    made.left_out = true;
    return made;
  }
  py::dict options = given.attr("copy")();
  made.prompt = take<std::string>(options, "prompt");
  made.negative_prompt = take<std::string>(options, "negative_prompt");
  made.objects = take<std::vector<std::string>>(options, "objects");
  made.candidates = take<int>(options, "candidates");
  made.condition_steps = take<int>(options, "condition_steps");
  made.sampler = take_sampler(options, "sampler");
  made.timestep_spacing = take_spacing(options, "timestep_spacing");
  made.cache_interval = take<int>(options, "cache_interval");
  made.cache_level = take<int>(options, "cache_level");
  made.guidance_scale = take<double>(options, "guidance_scale");
  if (const auto interval = take<std::pair<double, double>>(options, "guidance_interval"))
    made.guidance_interval = Interval{interval->first, interval->second};
  made.prune = take<std::vector<int>>(options, "prune");
  made.stop_at_recall = take<double>(options, "stop_at_recall");
  made.min_area = take<double>(options, "min_area");
  made.wave = take<int>(options, "wave");
  made.map = take_pixels(options, "map");
  made.strength = take<double>(options, "strength");
  made.latents = take_latents(options, "latents");
  if (!options.empty())
    throw py::type_error("factors[\"" + factor + "\"] has an unexpected option " +
                         py::repr(options.begin()->first).cast<std::string>());
  return made;
}

std::map<std::string, FactorOptions> take_factors(py::dict& options) {
  std::map<std::string, FactorOptions> factors;
  for (const auto& [name, given] : take<std::map<std::string, py::object>>(options, "factors")
                                       .value_or(std::map<std::string, py::object>{}))
    factors.emplace(name, factor_options_from(name, given));
  return factors;
}

// A factor's options as they were resolved; None where it was left out.
py::object parameters_of(const FactorOptions& factor) {
  using namespace py::literals;
  if (factor.left_out)
    return py::none();
  const auto given = [](bool is_given) {
    return is_given ? py::object(py::str("given")) : py::object(py::none());
  };
  const auto interval =
      factor.guidance_interval
          ? py::cast(std::pair(factor.guidance_interval->start, factor.guidance_interval->stop))
          : py::object(py::none());
  return py::dict("prompt"_a = factor.prompt, "negative_prompt"_a = factor.negative_prompt,
                  "objects"_a = factor.objects, "candidates"_a = factor.candidates,
                  "condition_steps"_a = factor.condition_steps,
                  "sampler"_a = sampler_text(factor.sampler),
                  "timestep_spacing"_a = spacing_text(factor.timestep_spacing),
                  "cache_interval"_a = factor.cache_interval, "cache_level"_a = factor.cache_level,
                  "guidance_scale"_a = factor.guidance_scale, "guidance_interval"_a = interval,
                  "prune"_a = factor.prune, "stop_at_recall"_a = factor.stop_at_recall,
                  "min_area"_a = factor.min_area, "wave"_a = factor.wave,
                  "map"_a = given(!factor.map.data.empty()), "strength"_a = factor.strength,
                  "latents"_a = given(!factor.latents.empty()));
}

}  // namespace

Request request_from(const std::string& prompt, const py::kwargs& given) {
  py::dict options = given.attr("copy")();
  Request request;
  request.prompt = prompt;
  take_into(options, "negative_prompt", request.negative_prompt);
  request.objects = take<std::vector<std::string>>(options, "objects");
  take_into(options, "candidates", request.candidates);
  request.seed = take<std::uint64_t>(options, "seed");
  request.condition_steps = take<int>(options, "condition_steps");
  request.num_inference_steps = take<int>(options, "num_inference_steps");
  if (const auto guidance = take<std::string>(options, "guidance"))
    request.guidance = guidance_from(*guidance);
  request.guidance_scale = take<double>(options, "guidance_scale");
  request.condition_guidance_scale = take<double>(options, "condition_guidance_scale");
  request.segfree_scale = take<double>(options, "segfree_scale");
  request.segfree_guidance_scale = take<double>(options, "segfree_guidance_scale");
  request.segfree_start = take<double>(options, "segfree_start");
  take_into(options, "controlnet_conditioning_scale", request.controlnet_conditioning_scale);
  request.sampler = take_sampler(options, "sampler");
  request.condition_sampler = take_sampler(options, "condition_sampler");
  request.timestep_spacing = take_spacing(options, "timestep_spacing");
  request.condition_timestep_spacing = take_spacing(options, "condition_timestep_spacing");
  request.cache_interval = take<int>(options, "cache_interval");
  request.cache_level = take<int>(options, "cache_level");
  request.min_area = take<double>(options, "min_area");
  request.height = take<int>(options, "height");
  request.width = take<int>(options, "width");
  request.latents = take_latents(options, "latents");
  request.condition_latents = take_latents(options, "condition_latents");
  request.control_images = take_images(options, "control_images");
  request.factors = take_factors(options);
  take_into(options, "joint", request.joint);
  request.joint_refresh = take<int>(options, "joint_refresh");
  request.image = take_pixels(options, "image");
  request.strength = take<double>(options, "strength");
  request.mask = take_pixels(options, "mask");
  take_into(options, "prune", request.prune);
  request.stop_at_recall = take<double>(options, "stop_at_recall");
  take_into(options, "wave", request.wave);
  take_interval(options, "guidance_interval", request.guidance_interval);
  take_interval(options, "condition_guidance_interval", request.condition_guidance_interval);
  take_into(options, "priority", request.priority);
  request.deadline = take<double>(options, "deadline");
  if (!options.empty())
    throw py::type_error("submit() got an unexpected keyword argument " +
                         py::repr(options.begin()->first).cast<std::string>());
  return request;
}

py::dict parameters_of(const Request& request) {
  using namespace py::literals;
  const auto given = [](const auto& values) -> py::object {
    return values.empty() ? py::object(py::none()) : py::object(py::str("given"));
  };
  py::dict factors;
  for (const auto& [name, options] : request.factors)
    factors[py::str(name)] = parameters_of(options);
  std::vector<std::string> control_images;
  for (const auto& [name, picture] : request.control_images)
    control_images.push_back(name);
  return py::dict(
      "prompt"_a = request.prompt, "negative_prompt"_a = request.negative_prompt,
      "objects"_a = request.objects, "candidates"_a = request.candidates, "seed"_a = request.seed,
      "condition_steps"_a = request.condition_steps,
      "num_inference_steps"_a = request.num_inference_steps,
      "guidance"_a = *request.guidance == GuidanceKind::cfg ? "cfg" : "segfree",
      "guidance_scale"_a = request.guidance_scale,
      "condition_guidance_scale"_a = request.condition_guidance_scale,
      "segfree_scale"_a = request.segfree_scale,
      "segfree_guidance_scale"_a = request.segfree_guidance_scale,
      "segfree_start"_a = request.segfree_start,
      "controlnet_conditioning_scale"_a = request.controlnet_conditioning_scale,
      "sampler"_a = sampler_name(*request.sampler),
      "condition_sampler"_a = sampler_text(request.condition_sampler),
      "timestep_spacing"_a = spacing_text(request.timestep_spacing),
      "condition_timestep_spacing"_a = spacing_text(request.condition_timestep_spacing),
      "cache_interval"_a = request.cache_interval, "cache_level"_a = request.cache_level,
      "min_area"_a = request.min_area, "height"_a = request.height, "width"_a = request.width,
      "latents"_a = given(request.latents),
      "condition_latents"_a = given(request.condition_latents), "control_images"_a = control_images,
      "factors"_a = factors, "joint"_a = request.joint, "joint_refresh"_a = request.joint_refresh,
      "image"_a = given(request.image.data), "strength"_a = request.strength,
      "mask"_a = given(request.mask.data), "prune"_a = request.prune,
      "stop_at_recall"_a = request.stop_at_recall, "wave"_a = request.wave,
      "guidance_interval"_a =
          std::pair(request.guidance_interval.start, request.guidance_interval.stop),
      "condition_guidance_interval"_a = std::pair(request.condition_guidance_interval.start,
                                                  request.condition_guidance_interval.stop),
      "priority"_a = request.priority, "deadline"_a = request.deadline);
}

}  // namespace fgdm::python
