#include "compliance.hpp"

#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include "fgdm/error.hpp"
#include "interpreter.hpp"

namespace py = pybind11;

namespace fgdm::python {
namespace {

using Labels = py::array_t<std::uint8_t, py::array::c_style>;

py::dict check_one(const std::string& palette_json, const Labels& labels,
                   const std::string& requirements_json, double min_area, int opening) {
  using namespace py::literals;
  if (labels.ndim() != 2)
    throw RequestError("labels has " + std::to_string(labels.ndim()) +
                       " dimensions, expected 2: (height, width)");
  const std::span<const std::uint8_t> pixels(labels.data(),
                                             static_cast<std::size_t>(labels.size()));
  const int height = static_cast<int>(labels.shape(0)), width = static_cast<int>(labels.shape(1));
  std::vector<RequirementText> texts;
  MapCompliance found;
  {
    const Unlocked unlocked;
    const auto palette = Palette::parse(palette_json);
    const auto required = parse_requirements(palette, requirements_json);
    texts = describe(palette, required);
    found = check_map(palette, pixels, height, width, required, {min_area, opening});
  }
  return py::dict("requirements"_a = pairs_of(texts), "met"_a = answers_of(found.met),
                  "presence"_a = found.presence, "counts"_a = found.counts,
                  "relations"_a = found.relations, "absences"_a = found.absences,
                  "compliance"_a = found.compliance);
}

py::array_t<std::uint32_t> number_instances_of(const Labels& labels, double min_area, int opening) {
  if (labels.ndim() != 2)
    throw RequestError("labels has " + std::to_string(labels.ndim()) +
                       " dimensions, expected 2: (height, width)");
  const std::span<const std::uint8_t> pixels(labels.data(),
                                             static_cast<std::size_t>(labels.size()));
  const int height = static_cast<int>(labels.shape(0)), width = static_cast<int>(labels.shape(1));
  std::vector<std::uint32_t> numbers;
  {
    const Unlocked unlocked;
    numbers = number_instances(pixels, height, width, {min_area, opening});
  }
  return py::array_t<std::uint32_t>({labels.shape(0), labels.shape(1)}, numbers.data());
}

}  // namespace

std::vector<std::pair<std::string, std::string>>
pairs_of(const std::vector<RequirementText>& texts) {
  std::vector<std::pair<std::string, std::string>> pairs;
  for (const auto& [kind, text] : texts)
    pairs.emplace_back(kind, text);
  return pairs;
}

std::vector<std::optional<bool>> answers_of(const std::vector<Met>& met) {
  std::vector<std::optional<bool>> answers;
  for (const auto one : met)
    answers.push_back(one == Met::unchecked ? std::nullopt : std::optional(one == Met::yes));
  return answers;
}

void bind_compliance(py::module_& module) {
  module.def("check_map", &check_one, py::arg("palette_json"), py::arg("labels"),
             py::arg("requirements_json"), py::arg("min_area"), py::arg("opening"));
  module.def("number_instances", &number_instances_of, py::arg("labels"), py::arg("min_area"),
             py::arg("opening"));
  module.def(
      "find_requirements",
      [](const std::string& palette_json, const std::string& prompt, bool articles_count) {
        const auto palette = Palette::parse(palette_json);
        auto found = find_requirements(palette, prompt, articles_count);
        return std::pair(requirements_json(palette, found.requirements), std::move(found.unread));
      },
      py::arg("palette_json"), py::arg("prompt"), py::arg("articles_count"),
      py::call_guard<Unlocked>());
}

}  // namespace fgdm::python
