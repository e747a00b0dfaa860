#include "rules.hpp"

#include <array>

#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include "fgdm/error.hpp"
#include "fgdm/manifest.hpp"
#include "fgdm/noise.hpp"
#include "fgdm/objects.hpp"
#include "fgdm/palette.hpp"
#include "fgdm/sampler.hpp"
#include "fgdm/selection.hpp"
#include "fgdm/tokenizer.hpp"
#include "interpreter.hpp"

namespace py = pybind11;

namespace fgdm::python {
namespace {

void bind_text(py::module_& module) {
  py::class_<Tokenizer>(module, "Tokenizer")
      .def(py::init([](const std::string& folder, int max_length) {
             return Tokenizer::load(folder, max_length);
           }),
           py::arg("folder"), py::arg("max_length"))
      .def(
          "encode",
          [](const Tokenizer& self, const std::string& text) { return self.encode(text); },
          py::arg("text"))
      .def(
          "tokenize",
          [](const Tokenizer& self, const std::string& text) { return self.tokenize(text); },
          py::arg("text"));
  module.def(
      "find_objects",
      [](const std::string& palette_json, const std::string& prompt) {
        const auto palette = Palette::parse(palette_json);
        auto objects = find_objects(palette, prompt);
        const auto names = [&](const std::vector<int>& indices) {
          std::vector<std::string> found;
          for (const int index : indices)
            found.push_back(palette.classes()[static_cast<std::size_t>(index)].name);
          return found;
        };
        return std::tuple(names(objects.requested), std::move(objects.unrecognized),
                          names(objects.excluded), objects.unrecognized_omitted);
      },
      py::arg("palette_json"), py::arg("prompt"), py::call_guard<Unlocked>());
}

// The numbers behind a bundle's samplers, for those who compare them with other implementations.
void bind_schedule(py::module_& module) {
  const auto kind_of = [](const std::string& name) {
    const auto kind = sampler_kind(name);
    if (!kind)
      throw RequestError("sampler is \"" + name + "\", expected " + sampler_names());
    return *kind;
  };
  const auto spacing_of =
      [](const std::optional<std::string>& name) -> std::optional<TimestepSpacing> {
    const auto spacing = name ? timestep_spacing(*name) : std::nullopt;
    if (name && !spacing)
      throw RequestError("spacing is \"" + *name + "\", expected " + spacing_names());
    return spacing;
  };
  py::class_<NoiseSchedule>(module, "NoiseSchedule")
      .def(py::init([](const std::string& manifest_json) {
             return Manifest::parse(manifest_json).schedule;
           }),
           py::arg("manifest_json"))
      .def("alphas_cumprod", [](const NoiseSchedule& self) { return alphas_cumprod(self); })
      .def(
          "timesteps",
          [=](const NoiseSchedule& self, const std::string& sampler, int num_inference_steps,
              const std::optional<std::string>& spacing) {
            return timesteps(self, num_inference_steps, kind_of(sampler), spacing_of(spacing));
          },
          py::arg("sampler"), py::arg("num_inference_steps"), py::arg("spacing") = py::none())
      .def(
          "coefficients",
          [=](const NoiseSchedule& self, const std::string& sampler, int num_inference_steps,
              const std::optional<std::string>& spacing) {
            const Sampler made(kind_of(sampler), self, num_inference_steps, 0, spacing_of(spacing));
            std::vector<std::array<float, 8>> all;
            for (int i = 0; i < num_inference_steps; ++i) {
              const auto& step = made.coefficients(i);
              all.push_back({step.x0_from_sample, step.x0_from_epsilon, step.sample, step.epsilon,
                             step.x0, step.history, step.older, step.noise});
            }
            return all;
          },
          py::arg("sampler"), py::arg("num_inference_steps"), py::arg("spacing") = py::none())
      .def(
          "known_weakness",
          [=](const NoiseSchedule& self, const std::string& sampler, int num_inference_steps,
              const std::optional<std::string>& spacing) {
            const auto kind = kind_of(sampler);
            return known_weakness(self, num_inference_steps, kind,
                                  spacing_of(spacing).value_or(self.spacing(kind)));
          },
          py::arg("sampler"), py::arg("num_inference_steps"), py::arg("spacing") = py::none())
      .def(
          "initial_scale",
          [=](const NoiseSchedule& self, const std::string& sampler, int num_inference_steps,
              const std::optional<std::string>& spacing) {
            return Sampler(kind_of(sampler), self, num_inference_steps, 0, spacing_of(spacing))
                .initial_scale();
          },
          py::arg("sampler"), py::arg("num_inference_steps"), py::arg("spacing") = py::none());
  module.def(
      "normal_noise",
      [](std::uint64_t seed, std::uint32_t candidate, std::uint32_t factor, std::uint32_t draw,
         std::size_t size) {
        py::array_t<float> noise(static_cast<py::ssize_t>(size));
        normal_noise(seed, candidate, factor, {noise.mutable_data(), size}, draw);
        return noise;
      },
      py::arg("seed"), py::arg("candidate"), py::arg("factor"), py::arg("draw"), py::arg("size"));
}

// What selection goes by: a map's recall, and its smallest area.
std::vector<MapRecall> recalls_of(const std::vector<std::pair<double, double>>& maps) {
  std::vector<MapRecall> recalls;
  for (const auto& [recall, smallest_area] : maps)
    recalls.push_back({recall, {}, {}, smallest_area});
  return recalls;
}

void bind_selection(py::module_& module) {
  py::class_<Selection>(module, "Selection")
      .def(py::init([](int candidates, int steps, std::vector<int> prune, double stop_at_recall,
                       int wave) {
             return Selection({candidates, steps, std::move(prune), stop_at_recall, wave});
           }),
           py::kw_only(), py::arg("candidates"), py::arg("steps"),
           py::arg("prune") = std::vector<int>{}, py::arg("stop_at_recall") = 0.0,
           py::arg("wave") = 0)
      .def_property_readonly("sampling", &Selection::sampling)
      .def_property_readonly("until", &Selection::until)
      .def_property_readonly("looks", &Selection::looks)
      .def_property_readonly("done", &Selection::done)
      .def(
          "seen",
          [](Selection& self, const std::vector<std::pair<double, double>>& maps) {
            if (maps.size() != (self.looks() ? self.sampling().size() : 0))
              throw RequestError("seen() was given " + std::to_string(maps.size()) +
                                 " maps, expected all of sampling where it looks, else none");
            return self.seen(recalls_of(maps));
          },
          py::arg("maps"));
  module.def(
      "select_map",
      [](const std::vector<std::pair<double, double>>& maps) { return select(recalls_of(maps)); },
      py::arg("maps"));
}

}  // namespace

void bind_rules(py::module_& module) {
  bind_text(module);
  bind_schedule(module);
  bind_selection(module);
}

}  // namespace fgdm::python
