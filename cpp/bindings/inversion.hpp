#pragma once

#include <optional>

#include <pybind11/pybind11.h>

#include "fgdm/inversion.hpp"

namespace fgdm::python {

// Inversion.
void bind_inversion(pybind11::module_& module);

// What Engine.submit's `editing` says: None; or a dictionary of "settings" and "noise"; or one of
// "inversion", "edits" and "keep". Throws RequestError for what is of the wrong type.
std::optional<Editing> editing_from(const pybind11::object& given);

}  // namespace fgdm::python
