#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <pybind11/pybind11.h>

#include "fgdm/compliance.hpp"

namespace fgdm::python {

// Requirements as (kind, text); what is met of them, None where a map can't say.
std::vector<std::pair<std::string, std::string>>
pairs_of(const std::vector<RequirementText>& texts);
std::vector<std::optional<bool>> answers_of(const std::vector<Met>& met);

// Reading requirements and checking maps, without an engine.
void bind_compliance(pybind11::module_& module);

}  // namespace fgdm::python
