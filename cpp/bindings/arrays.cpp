#include "arrays.hpp"

#include <cstdint>
#include <optional>
#include <string_view>
#include <utility>

#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include "dlpack.hpp"
#include "fgdm/error.hpp"
#include "host_memory.hpp"
#include "interpreter.hpp"

namespace py = pybind11;

namespace fgdm::python {
namespace {

constexpr const char* capsule_name = "dltensor";
constexpr const char* versioned_name = "dltensor_versioned";
constexpr const char* used_name = "used_dltensor";
constexpr const char* used_versioned_name = "used_dltensor_versioned";
constexpr std::intptr_t legacy_stream = 1;

// ---- To others ----

// The capsule gives its tensor back, unless somebody took it over, who renames the capsule.
template <typename T> py::capsule capsule_of(T* managed) {
  constexpr auto name = std::is_same_v<T, dlpack::Managed> ? capsule_name : versioned_name;
  auto* const capsule = PyCapsule_New(managed, name, [](PyObject* self) {
    if (PyCapsule_IsValid(self, name) == 0)
      return;
    auto* const tensor = static_cast<T*>(PyCapsule_GetPointer(self, name));
    tensor->deleter(tensor);
  });
  if (capsule == nullptr) {
    managed->deleter(managed);
    throw py::error_already_set();
  }
  return py::reinterpret_steal<py::capsule>(capsule);
}

// Lets the consumer's stream wait, as the array API standard numbers streams.
void wait_on(const DeviceArray& array, const std::optional<std::intptr_t>& stream) {
  const auto handle = stream.value_or(array.memory->gpu() < 0 ? -1 : legacy_stream);
  if (handle == -1)
    return;
  if (array.memory->gpu() < 0)
    throw py::value_error("the array lies in the host's memory, which has no streams: stream must "
                          "be None");
  if (handle == 0)
    throw py::value_error("stream is 0, which may mean two streams: 1 is CUDA's legacy default "
                          "stream, 2 that of the thread");
  const Unlocked unlocked;
  array.memory->wait_on(reinterpret_cast<void*>(handle));
}

// The array where the consumer wants it.
DeviceArray moved(const DeviceArray& array, const std::optional<std::pair<int, int>>& device,
                  std::optional<bool> copy) {
  const auto own = dlpack::device_of(array.memory->gpu());
  const bool stays = !device || *device == std::pair(own.type, own.id);
  if (!stays && *device != std::pair(dlpack::device_cpu, 0))
    throw py::buffer_error("the array lies on DLPack's device (" + std::to_string(own.type) + ", " +
                           std::to_string(own.id) +
                           "), from where it goes to the host alone, (1, 0)");
  if (!stays && copy == false)
    throw py::value_error("copy is False, but the array lies on a GPU and is wanted on the host");
  auto made = array;
  if (!stays || copy == true) {
    const Unlocked unlocked;
    made.memory = stays ? array.memory->copied() : host_copy(*array.memory, array.bytes());
  }
  return made;
}

py::capsule to_dlpack(const DeviceArray& self, const std::optional<std::intptr_t>& stream,
                      const std::optional<std::pair<int, int>>& max_version,
                      const std::optional<std::pair<int, int>>& device, std::optional<bool> copy) {
  const auto array = moved(self, device, copy);
  if (array.memory == self.memory)  // a copy is complete
    wait_on(array, stream);
  if (max_version && max_version->first >= static_cast<int>(dlpack::version_major))
    return capsule_of(dlpack::managed_versioned(array, array.memory != self.memory));
  return capsule_of(dlpack::managed(array));
}

py::array numpy_of(const DeviceArray& self) {
  const auto type = self.dtype == DType::bfloat16 ? "uint16" : std::string(dtype_name(self.dtype));
  py::array made(py::dtype(type), std::vector<py::ssize_t>(self.shape.begin(), self.shape.end()));
  auto* const to = made.mutable_data();
  const Unlocked unlocked;
  self.memory->read(to);
  return made;
}

// ---- From others ----

// What a producer exports. One of before version 1 doesn't know `max_version`.
py::object exported(const py::object& value, const Exchange& exchange) {
  py::dict arguments;
  if (exchange.stream != nullptr)
    arguments["stream"] = reinterpret_cast<std::intptr_t>(exchange.stream);
  py::dict of_today = arguments.attr("copy")();
  of_today["max_version"] = py::make_tuple(dlpack::version_major, dlpack::version_minor);
  const auto ask = value.attr("__dlpack__");
  try {
    return ask(**of_today);
  } catch (py::error_already_set& error) {
    if (!error.matches(PyExc_TypeError))
      throw;
  }
  return ask(**arguments);
}

// A tensor that was taken over: its deleter is called once, on whatever thread the last holder is.
// Producers' deleters may be Python's.
template <typename T> std::shared_ptr<void> owner_of(T* managed) {
  return {managed, [](T* last) {
            if (last->deleter != nullptr)
              in_interpreter([&] { last->deleter(last); });
          }};
}

template <typename T>
DeviceArray taken(const Engine& engine, const std::string& name, const py::object& capsule,
                  const char* capsules, const char* used) {
  auto* const managed = static_cast<T*>(PyCapsule_GetPointer(capsule.ptr(), capsules));
  if (managed == nullptr)
    throw py::error_already_set();
  if constexpr (std::is_same_v<T, dlpack::ManagedVersioned>)
    if (managed->version.major != dlpack::version_major)
      throw RequestError(name + " comes in DLPack's version " +
                         std::to_string(managed->version.major) + ", expected 1");
  auto array = dlpack::described(managed->tensor, name);
  if (PyCapsule_SetName(capsule.ptr(), used) != 0)
    throw py::error_already_set();
  auto owner = owner_of(managed);
  array.memory = engine.adopt(dlpack::begin_of(managed->tensor), array.bytes(), std::move(owner));
  return array;
}

}  // namespace

py::tuple dlpack_device(int gpu) {
  const auto [type, id] = dlpack::device_of(gpu);
  return py::make_tuple(type, id);
}

py::object take_array(const Engine& engine, const std::string& name, const py::object& value) {
  const auto exchange = engine.exchange();
  const auto device = value.attr("__dlpack_device__")().cast<std::pair<int, int>>();
  const auto [type, id] = dlpack::device_of(exchange.gpu);
  if (device != std::pair(type, id))
    return py::none();
  const auto capsule = exported(value, exchange);
  if (PyCapsule_IsValid(capsule.ptr(), versioned_name) != 0)
    return py::cast(taken<dlpack::ManagedVersioned>(engine, name, capsule, versioned_name,
                                                    used_versioned_name));
  return py::cast(taken<dlpack::Managed>(engine, name, capsule, capsule_name, used_name));
}

void bind_arrays(py::module_& module) {
  // The last one of an array waits for what the GPU still does with it; Python goes on meanwhile.
  py::class_<DeviceArray>(module, "DeviceArray", py::release_gil_before_calling_cpp_dtor())
      .def_property_readonly(
          "shape", [](const DeviceArray& self) { return py::tuple(py::cast(self.shape)); })
      .def_property_readonly(
          "dtype", [](const DeviceArray& self) { return std::string(dtype_name(self.dtype)); })
      .def_property_readonly(
          "device", [](const DeviceArray& self) { return dlpack_device(self.memory->gpu()); })
      .def("numpy", &numpy_of)
      .def("__dlpack__", &to_dlpack, py::kw_only(), py::arg("stream") = py::none(),
           py::arg("max_version") = py::none(), py::arg("dl_device") = py::none(),
           py::arg("copy") = py::none())
      .def("__dlpack_device__",
           [](const DeviceArray& self) { return dlpack_device(self.memory->gpu()); });
}

}  // namespace fgdm::python
