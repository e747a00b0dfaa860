#pragma once

#include <pybind11/pybind11.h>

#include "fgdm/engine.hpp"

namespace fgdm::python {

// Builds a request from Engine.submit's keyword arguments; None means the bundle's default.
// Throws RequestError for arrays of the wrong shape and for unknown words.
Request request_from(const std::string& prompt, const pybind11::kwargs& options);

// A resolved request as a dictionary of plain values; arrays are given as "given" or None.
pybind11::dict parameters_of(const Request& request);

}  // namespace fgdm::python
