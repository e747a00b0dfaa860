#pragma once

#include <pybind11/pybind11.h>

namespace fgdm::python {

// The core's rules that Python asks without an engine: of texts, of schedules, of selection.
void bind_rules(pybind11::module_& module);

}  // namespace fgdm::python
