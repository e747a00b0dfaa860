#pragma once

#include <pybind11/pybind11.h>

namespace fgdm::python {

// Makes the C++ exception tree arrive as the Python classes of fgdm.errors.
void bind_errors(pybind11::module_& module);

}  // namespace fgdm::python
