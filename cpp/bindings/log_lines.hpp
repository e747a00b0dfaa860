#pragma once

#include <pybind11/pybind11.h>

namespace fgdm::python {

// From now on keeps what the core tells in a queue, for next_log_line(): the thread that tells
// something may hold locks, and a handler of Python's logging may do anything.
void bind_log_lines(pybind11::module_& module);

}  // namespace fgdm::python
