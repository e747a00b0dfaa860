#pragma once

#include <cstdint>

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include "fgdm/result.hpp"

namespace fgdm::python {

// A picture (height, width, 3), labels (height, width), or nothing.
pybind11::array_t<std::uint8_t> array_of(const Pixels& pixels);

// A copy of a candidate of a request that is at work.
pybind11::object candidate_of(const Candidate& candidate, std::uint64_t seed);

// Candidate, FactorResult and Result.
void bind_result(pybind11::module_& module);

}  // namespace fgdm::python
