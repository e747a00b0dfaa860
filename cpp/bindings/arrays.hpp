#pragma once

#include <string>

#include <pybind11/pybind11.h>

#include "fgdm/device_array.hpp"
#include "fgdm/engine.hpp"

namespace fgdm::python {

// DeviceArray.
void bind_arrays(pybind11::module_& module);

// Takes an array over that another library exports by DLPack, if it lies where the engine's
// networks read; None if it lies elsewhere. Throws RequestError, which calls it `name`, for what no
// option takes.
pybind11::object take_array(const Engine& engine, const std::string& name,
                            const pybind11::object& value);

// As DLPack names a device: (1, 0) is the host, (2, n) a GPU.
pybind11::tuple dlpack_device(int gpu);

}  // namespace fgdm::python
