#pragma once

#include <nlohmann/json.hpp>
#include <pybind11/pybind11.h>

#include "fgdm/engine.hpp"

namespace fgdm::python {

// Builds a request from Engine.submit's keyword arguments; None means the bundle's default.
// Throws RequestError for arrays of the wrong shape, values of the wrong type and unknown words.
Request request_from(const std::string& prompt, const pybind11::kwargs& options);

// A value of JSON as Python's own.
pybind11::object python_of(const nlohmann::ordered_json& value);

// A resolved request as a dictionary of plain values; arrays are given as "given" or None.
pybind11::object python_parameters_of(const Request& request);

}  // namespace fgdm::python
