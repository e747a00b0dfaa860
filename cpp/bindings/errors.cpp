#include "errors.hpp"

#include <string_view>

#include "fgdm/error.hpp"

namespace py = pybind11;

namespace fgdm::python {
namespace {

// The Python class for an exception, the most derived one first.
const char* class_name(const Error& error) {
  if (dynamic_cast<const BundleError*>(&error) != nullptr)
    return "BundleError";
  if (dynamic_cast<const RequestError*>(&error) != nullptr)
    return "RequestError";
  if (dynamic_cast<const BackendError*>(&error) != nullptr)
    return "BackendError";
  if (dynamic_cast<const OutOfMemoryError*>(&error) != nullptr)
    return "OutOfMemoryError";
  if (dynamic_cast<const CancelledError*>(&error) != nullptr)
    return "CancelledError";
  if (dynamic_cast<const QueueFullError*>(&error) != nullptr)
    return "QueueFullError";
  if (dynamic_cast<const DeadlineError*>(&error) != nullptr)
    return "DeadlineError";
  return "Error";
}

}  // namespace

void bind_errors(py::module_& module) {
  const auto errors = py::module_::import("fgdm.errors");
  for (const char* name : {"Error", "BundleError", "RequestError", "BackendError",
                           "OutOfMemoryError", "CancelledError", "QueueFullError", "DeadlineError"})
    module.attr(name) = errors.attr(name);
  py::register_local_exception_translator([](std::exception_ptr pointer) {
    try {
      if (pointer)
        std::rethrow_exception(pointer);
    } catch (const Error& error) {
      const auto type = py::module_::import("fgdm.errors").attr(class_name(error));
      // A message may quote bytes of a file, which needn't be UTF-8.
      const std::string_view text(error.what());
      const auto message = py::reinterpret_steal<py::object>(PyUnicode_DecodeUTF8(
          text.data(), static_cast<py::ssize_t>(text.size()), "backslashreplace"));
      py::set_error(type, message);
    }
  });
}

}  // namespace fgdm::python
