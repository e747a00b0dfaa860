#include "results.hpp"

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <pybind11/stl.h>

#include "compliance.hpp"
#include "inversion.hpp"
#include "request.hpp"

namespace py = pybind11;

namespace fgdm::python {
namespace {

// A candidate, which its result or nobody else owns, and the request's seed.
struct PythonCandidate {
  std::shared_ptr<const Candidate> candidate;
  std::uint64_t seed;
};

// A factor's result, which the request's result holds.
struct PythonFactorResult {
  std::shared_ptr<const Result> result;
  const FactorResult* factor;
};

std::vector<PythonCandidate> all_of(const std::shared_ptr<const Result>& result,
                                    const std::vector<Candidate>& candidates) {
  std::vector<PythonCandidate> all;
  for (const auto& candidate : candidates)
    all.push_back({{result, &candidate}, result->seed});
  return all;
}

std::optional<DeviceArray> given(const DeviceArray& array) {
  return array ? std::optional(array) : std::nullopt;
}

void bind_factor_result(py::module_& module) {
  using F = PythonFactorResult;
  py::class_<F>(module, "FactorResult")
      .def_property_readonly(
          "candidates", [](const F& self) { return all_of(self.result, self.factor->candidates); })
      .def_property_readonly("chosen", [](const F& self) { return self.factor->chosen; })
      .def_property_readonly("given", [](const F& self) { return self.factor->given; })
      .def_property_readonly("requested", [](const F& self) { return self.factor->requested; })
      .def_property_readonly("excluded", [](const F& self) { return self.factor->excluded; })
      .def_property_readonly("requirements",
                             [](const F& self) { return pairs_of(self.factor->requirements); })
      .def_property_readonly("not_understood",
                             [](const F& self) { return self.factor->not_understood; })
      .def_property_readonly("unknown_pixels",
                             [](const F& self) { return self.factor->unknown_pixels; })
      .def_property_readonly("truncated", [](const F& self) { return self.factor->truncated; })
      .def_property_readonly("negative_truncated",
                             [](const F& self) { return self.factor->negative_truncated; })
      .def_property_readonly("timings", [](const F& self) { return self.factor->timings; });
}

}  // namespace

py::array_t<std::uint8_t> array_of(const Pixels& pixels) {
  const auto area =
      static_cast<std::size_t>(pixels.height) * static_cast<std::size_t>(pixels.width);
  std::vector<py::ssize_t> shape{pixels.height, pixels.width};
  if (area > 0 && pixels.data.size() == 3 * area)
    shape.push_back(3);
  return py::array_t<std::uint8_t>(shape, pixels.data.data());
}

py::object candidate_of(const Candidate& candidate, std::uint64_t seed) {
  return py::cast(PythonCandidate{std::make_shared<const Candidate>(candidate), seed});
}

void bind_result(py::module_& module) {
  using C = PythonCandidate;
  py::class_<C>(module, "Candidate")
      .def_property_readonly("index", [](const C& self) { return self.candidate->index; })
      .def_property_readonly("seed", [](const C& self) { return self.seed; })
      .def_property_readonly("recall", [](const C& self) { return self.candidate->recall; })
      .def_property_readonly("found", [](const C& self) { return self.candidate->found; })
      .def_property_readonly("missing", [](const C& self) { return self.candidate->missing; })
      .def_property_readonly("smallest_area",
                             [](const C& self) { return self.candidate->smallest_area; })
      .def_property_readonly("map", [](const C& self) { return array_of(self.candidate->map); })
      .def_property_readonly("labels",
                             [](const C& self) { return array_of(self.candidate->labels); })
      .def_property_readonly("steps", [](const C& self) { return self.candidate->steps; })
      .def_property_readonly("pruned", [](const C& self) { return self.candidate->pruned; })
      .def_property_readonly("failed", [](const C& self) { return self.candidate->failed; })
      .def_property_readonly("met", [](const C& self) { return answers_of(self.candidate->met); })
      .def_property_readonly("compliance", [](const C& self) { return self.candidate->compliance; })
      .def_property_readonly("refused", [](const C& self) { return self.candidate->refused; });

  bind_factor_result(module);
  py::class_<Result, std::shared_ptr<Result>>(module, "Result")
      .def_property_readonly("image", [](const Result& self) { return array_of(self.image); })
      .def_property_readonly("image_on_device",
                             [](const Result& self) { return given(self.image_on_device); })
      .def_property_readonly("latents_on_device",
                             [](const Result& self) { return given(self.latents_on_device); })
      .def_property_readonly("factors",
                             [](const std::shared_ptr<Result>& self) {
                               std::map<std::string, PythonFactorResult> all;
                               for (const auto& [name, factor] : self->factors)
                                 all.emplace(name, PythonFactorResult{self, &factor});
                               return all;
                             })
      .def_readonly("requested", &Result::requested)
      .def_readonly("excluded", &Result::excluded)
      .def_property_readonly("requirements",
                             [](const Result& self) { return pairs_of(self.requirements); })
      .def_readonly("not_understood", &Result::not_understood)
      .def_readonly("unrecognized", &Result::unrecognized)
      .def_readonly("unrecognized_omitted", &Result::unrecognized_omitted)
      .def_readonly("truncated", &Result::truncated)
      .def_readonly("negative_truncated", &Result::negative_truncated)
      .def_readonly("unread", &Result::unread)
      .def_readonly("chosen", &Result::chosen)
      .def_property_readonly(
          "candidates",
          [](const std::shared_ptr<Result>& self) { return all_of(self, self->candidates); })
      .def_readonly("seed", &Result::seed)
      .def_readonly("map_rows", &Result::map_rows)
      .def_readonly("timings", &Result::timings)
      .def_property_readonly(
          "inversion",
          [](const Result& self) { return std::const_pointer_cast<Inversion>(self.inversion); })
      .def_property_readonly("parameters",
                             [](const Result& self) { return python_parameters_of(self.request); });
}

}  // namespace fgdm::python
