#pragma once

#include <pybind11/pybind11.h>

namespace fgdm::python {

// From hand_lines_to() on, a thread of its own gives a function of Python's what the core tells:
// who tells something may hold locks, and a handler of Python's logging may do anything.
void bind_log_lines(pybind11::module_& module);

}  // namespace fgdm::python
