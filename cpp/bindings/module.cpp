#include <pybind11/chrono.h>
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <thread>

#include "arrays.hpp"
#include "compliance.hpp"
#include "errors.hpp"
#include "fgdm/bundle.hpp"
#include "fgdm/contexts.hpp"
#include "fgdm/engine.hpp"
#include "fgdm/error.hpp"
#include "fgdm/manifest.hpp"
#include "fgdm/ort_session.hpp"
#include "fgdm/tensorrt.hpp"
#include "fgdm/version.hpp"
#include "interpreter.hpp"
#include "inversion.hpp"
#include "log_lines.hpp"
#include "request.hpp"
#include "results.hpp"
#include "rules.hpp"

namespace py = pybind11;

namespace fgdm::python {
namespace {

// A step as Python sees it: only valid while the callback runs, so it copies what it gives away.
// The interpreter lock guards it: whoever reads it holds the lock, and so does who ends its
// validity.
class PythonStep {
public:
  explicit PythonStep(const StepInfo* info) : info_(info) {}

  const StepInfo& get() const {
    if (info_ == nullptr)
      throw RequestError("a StepInfo can only be read inside the step callback; copy there what is "
                         "needed later");
    return *info_;
  }

  // A preview runs a network without the lock, on the engine's thread, where alone nothing else
  // runs one.
  Pixels preview(std::optional<int> candidate) const {
    const auto& info = get();
    if (std::this_thread::get_id() != thread_)
      throw RequestError("preview() can only be called on the thread that the step callback runs "
                         "on; call it inside the step callback and hand on the picture");
    const Unlocked unlocked;
    return info.preview(candidate.value_or(info.candidates.front()));
  }

  // Ends with the callback, however that ends.
  class Validity {
  public:
    explicit Validity(PythonStep& step) : step_(step) {}
    ~Validity() { step_.info_ = nullptr; }
    Validity(const Validity&) = delete;
    Validity& operator=(const Validity&) = delete;

  private:
    PythonStep& step_;
  };

private:
  const StepInfo* info_;
  std::thread::id thread_ = std::this_thread::get_id();
};

// The last reference may go on the engine's thread, which must hold the interpreter lock then. An
// interpreter that is on its way out keeps the object: nobody may enter it any more.
std::shared_ptr<py::object> shared_python(const py::object& object) {
  return {new py::object(object), [](py::object* last) { in_interpreter([&] { delete last; }); }};
}

// Whether a callback wants its request to stop; what it raises stops it too.
template <typename Call> bool ask(const py::object& function, const char* what, const Call& call) {
  if (is_finalizing())
    return true;
  const py::gil_scoped_acquire lock;
  try {
    const py::object answer = call(function);
    return !answer.is_none() && answer.cast<bool>();
  } catch (py::error_already_set& error) {
    // It must not leave this thread, where nobody may hold it without the lock.
    error.discard_as_unraisable(what);
    return true;
  }
}

StepCallback callback_from(const py::object& function) {
  if (function.is_none())
    return {};
  const auto held = shared_python(function);
  return [held](const StepInfo& info) {
    return ask(*held, "a step callback", [&](const py::object& called) {
      const auto step = std::make_shared<PythonStep>(&info);
      const PythonStep::Validity valid(*step);
      return called(step);
    });
  };
}

MapCallback map_callback_from(const py::object& function) {
  if (function.is_none())
    return {};
  const auto held = shared_python(function);
  return [held](const MapInfo& info) {
    return ask(*held, "a map callback", [&](const py::object& called) {
      return called(info.factor, candidate_of(info.candidate, info.seed), info.num_steps,
                    info.chosen);
    });
  };
}

SelectCallback select_callback_from(const py::object& function) {
  if (function.is_none())
    return {};
  const auto held = shared_python(function);
  return [held](const Choice& choice) -> std::optional<std::size_t> {
    if (is_finalizing())
      return std::nullopt;
    const py::gil_scoped_acquire lock;
    try {
      py::list candidates;
      for (const auto* candidate : choice.candidates)
        candidates.append(candidate_of(*candidate, choice.seed));
      const py::object answer = (*held)(choice.factor, candidates);
      return answer.cast<std::optional<std::size_t>>();
    } catch (py::error_already_set& error) {
      error.discard_as_unraisable("a select callback");
    }
    return std::nullopt;
  };
}

void bind_step(py::module_& module) {
  py::class_<PythonStep, std::shared_ptr<PythonStep>>(module, "StepInfo")
      .def_property_readonly("factor", [](const PythonStep& step) { return step.get().factor; })
      .def_property_readonly("step", [](const PythonStep& step) { return step.get().step; })
      .def_property_readonly("num_steps",
                             [](const PythonStep& step) { return step.get().num_steps; })
      .def_property_readonly("timestep", [](const PythonStep& step) { return step.get().timestep; })
      .def_property_readonly("candidates",
                             [](const PythonStep& step) {
                               const auto taken = step.get().candidates;
                               return std::vector<int>(taken.begin(), taken.end());
                             })
      .def("predicted_x0",
           [](const PythonStep& step) {
             const auto& info = step.get();
             const auto rows = static_cast<int>(info.candidates.size());
             return py::array_t<float>({rows, info.channels, info.height, info.width},
                                       info.predicted_x0.data());
           })
      .def(
          "preview",
          [](const PythonStep& step, std::optional<int> candidate) {
            return array_of(step.preview(candidate));
          },
          py::arg("candidate") = py::none());
}

void bind_job(py::module_& module) {
  const auto release = py::call_guard<Unlocked>();
  py::class_<Job>(module, "Job")
      .def("cancel", &Job::cancel)
      .def("done", &Job::done)
      .def("wait", &Job::wait, py::arg("timeout") = py::none(), release)
      .def(
          "result", [](const Job& job) { return std::make_shared<Result>(job.result()); }, release)
      .def(
          "when_done",
          [](const Job& job, const py::function& function) {
            auto held = shared_python(function);
            const Unlocked unlocked;
            job.when_done([held] {
              in_interpreter("a function given to Job.when_done", [&] { (*held)(); });
            });
          },
          py::arg("function"));
}

py::dict metrics_of(const Metrics& metrics) {
  using namespace py::literals;
  return py::dict(
      "accepted"_a = metrics.accepted, "finished"_a = metrics.finished, "failed"_a = metrics.failed,
      "cancelled"_a = metrics.cancelled, "refused"_a = metrics.refused, "queued"_a = metrics.queued,
      "active"_a = metrics.active, "batches"_a = metrics.batches, "rows"_a = metrics.rows,
      "batches_of_rows"_a = metrics.batches_of_rows, "waiting_rows"_a = metrics.waiting_rows,
      "padding"_a = metrics.padding, "rows_saved"_a = metrics.rows_saved,
      "candidates_failed"_a = metrics.candidates_failed, "context_hits"_a = metrics.context_hits,
      "context_misses"_a = metrics.context_misses, "retries"_a = metrics.retries,
      "queue_seconds"_a = metrics.queue_seconds, "session_seconds"_a = metrics.session_seconds);
}

// The bytes of an object that has some, such as a memoryview, which is held until they aren't
// needed any more. An interpreter that is on its way out keeps the object.
Bytes bytes_of(const py::object& object) {
  auto view = std::make_unique<Py_buffer>();
  if (PyObject_GetBuffer(object.ptr(), view.get(), PyBUF_SIMPLE) != 0)
    throw py::error_already_set();
  const std::span bytes(static_cast<const std::byte*>(view->buf),
                        static_cast<std::size_t>(view->len));
  return {bytes, std::shared_ptr<const Py_buffer>(view.release(), [](const Py_buffer* last) {
            in_interpreter([&] {
              const std::unique_ptr<Py_buffer> held(const_cast<Py_buffer*>(last));
              PyBuffer_Release(held.get());
            });
          })};
}

void bind_engine(py::module_& module) {
  // The destructor waits for the engine's thread, whose callbacks need the interpreter lock.
  py::class_<Engine>(module, "Engine", py::release_gil_before_calling_cpp_dtor())
      .def(
          py::init([](const py::object& bundle, std::string backend, std::string precision,
                      int threads, const std::string& library, const std::string& tensorrt_library,
                      const std::vector<std::string>& plugins, int device, int max_batch_rows,
                      int max_queue, int max_active, std::string policy, const std::string& profile,
                      const std::string& trace, const std::string& forbid, std::string memory,
                      std::string attention, const std::string& contexts, std::uintptr_t stream) {
            const EngineOptions options{std::move(backend),
                                        std::move(precision),
                                        threads,
                                        library,
                                        tensorrt_library,
                                        {plugins.begin(), plugins.end()},
                                        device,
                                        max_batch_rows,
                                        max_queue,
                                        max_active,
                                        std::move(policy),
                                        profile,
                                        trace,
                                        forbid,
                                        std::move(memory),
                                        std::move(attention),
                                        contexts,
                                        reinterpret_cast<void*>(stream)};
            if (py::isinstance<py::str>(bundle)) {
              const auto path = bundle.cast<std::string>();
              const Unlocked unlocked;
              return std::make_unique<Engine>(path, options);
            }
            auto archive = bytes_of(bundle);
            const Unlocked unlocked;
            return std::make_unique<Engine>(std::move(archive), options);
          }),
          py::arg("bundle"), py::kw_only(), py::arg("backend") = "auto",
          py::arg("precision") = "auto", py::arg("threads") = 0, py::arg("library") = "",
          py::arg("tensorrt_library") = "", py::arg("plugins") = std::vector<std::string>{},
          py::arg("device") = 0, py::arg("max_batch_rows") = 32, py::arg("max_queue") = 256,
          py::arg("max_active") = 16, py::arg("policy") = "latency", py::arg("profile") = "",
          py::arg("trace") = "", py::arg("forbid") = "", py::arg("memory") = "full",
          py::arg("attention") = "auto", py::arg("contexts") = "auto", py::arg("stream") = 0)
      .def_property_readonly("manifest", &Engine::manifest_json)
      .def(
          "bundle_file",
          [](const Engine& engine, const std::string& name) {
            return py::bytes(engine.bundle_file(name));
          },
          py::arg("name"))
      .def_property_readonly("backend", &Engine::backend)
      .def_property_readonly("precision", &Engine::precision)
      .def_property_readonly("runtime", &Engine::runtime)
      .def_property_readonly("attention", &Engine::attention)
      .def_property_readonly("notes",
                             [](const Engine& engine) {
                               const auto notes = engine.notes();
                               return std::vector<std::string>(notes.begin(), notes.end());
                             })
      .def_property_readonly("trace_problem", &Engine::trace_problem)
      .def_property_readonly("load_seconds", &Engine::load_seconds)
      .def_property_readonly("profile_key", &Engine::profile_key)
      .def("metrics", [](const Engine& engine) { return metrics_of(engine.metrics()); })
      .def(
          "measure_batches",
          [](Engine& engine, const std::vector<int>& rows, int repeats, std::optional<int> height,
             std::optional<int> width) {
            std::vector<std::tuple<int, int, std::string, std::map<int, double>>> all;
            const auto check_signals = [] {
              const py::gil_scoped_acquire lock;
              if (PyErr_CheckSignals() != 0)
                throw py::error_already_set();
            };
            for (auto& times : engine.measure_batches(rows, repeats, height, width, check_signals))
              all.emplace_back(times.latent_height, times.latent_width, std::move(times.backbone),
                               std::move(times.seconds));
            return all;
          },
          py::arg("rows"), py::arg("repeats"), py::arg("height"), py::arg("width"),
          py::call_guard<Unlocked>())
      .def_property_readonly(
          "dlpack_device",
          [](const Engine& engine) { return dlpack_device(engine.exchange().gpu); })
      .def("take_array", &take_array, py::arg("name"), py::arg("value"))
      .def("close", &Engine::close, py::call_guard<Unlocked>())
      .def(
          "submit",
          [](Engine& engine, const std::string& prompt, const py::kwargs& kwargs) {
            py::dict options = kwargs.attr("copy")();
            const py::object on_step = options.attr("pop")("step_callback", py::none());
            const py::object on_map = options.attr("pop")("map_callback", py::none());
            const py::object editing = options.attr("pop")("editing", py::none());
            const py::object on_select = options.attr("pop")("select_callback", py::none());
            auto request = request_from(prompt, py::kwargs(options));
            request.editing = editing_from(editing);
            auto step_callback = callback_from(on_step);
            auto map_callback = map_callback_from(on_map);
            auto select_callback = select_callback_from(on_select);
            const Unlocked unlocked;
            return engine.submit(std::move(request), std::move(step_callback),
                                 std::move(map_callback), std::move(select_callback));
          },
          py::arg("prompt"));
}

// As a tuple: graph, whether its context was kept, seconds, bytes, notes.
auto compiled_graph(const CompiledGraph& graph) {
  return std::tuple(graph.graph, graph.was_kept, graph.seconds, graph.bytes, graph.notes);
}

void bind_contexts(py::module_& module) {
  module.def(
      "compile_graphs",
      [](const std::string& bundle, std::string backend, std::string precision, int threads,
         const std::string& library, const std::vector<std::string>& plugins, int device,
         const std::string& contexts, const py::function& each) {
        EngineOptions options;
        options.backend = std::move(backend);
        options.precision = std::move(precision);
        options.threads = threads;
        options.library = library;
        options.plugins = {plugins.begin(), plugins.end()};
        options.device = device;
        options.contexts = contexts;
        const Unlocked unlocked;
        compile_graphs(bundle, options, [&](const CompiledGraph& graph) {
          const py::gil_scoped_acquire lock;
          if (PyErr_CheckSignals() != 0)
            throw py::error_already_set();
          each(compiled_graph(graph));
        });
      },
      py::arg("bundle"), py::kw_only(), py::arg("backend"), py::arg("precision"),
      py::arg("threads"), py::arg("library"), py::arg("plugins"), py::arg("device"),
      py::arg("contexts"), py::arg("each"));
}

}  // namespace
}  // namespace fgdm::python

PYBIND11_MODULE(_core_module, module) {
  using namespace fgdm::python;
  module.doc() = "The C++ core of fgdm.";
  bind_errors(module);
  bind_log_lines(module);
  bind_arrays(module);
  bind_step(module);
  bind_inversion(module);
  bind_result(module);
  bind_job(module);
  bind_engine(module);
  bind_rules(module);
  bind_compliance(module);
  bind_contexts(module);
  module.def(
      "check_manifest",
      [](const py::bytes& json) { fgdm::Manifest::parse(std::string_view(json)); },
      py::arg("json"));
  module.def(
      "check_plan",
      [](const py::bytes& json, const std::string& name,
         const std::map<std::string, std::string>& hashes) {
        std::map<std::string, fgdm::FileSpec> files;
        for (const auto& [path, sha256] : hashes)
          files[path] = {0, sha256};
        fgdm::check_plan(json, name, files);
      },
      py::arg("json"), py::arg("name"), py::arg("hashes"));
  module.def(
      "check_archive", [](const std::string& file) { fgdm::check_archive(file); }, py::arg("file"));
  module.def("version", [] { return FGDM_VERSION; });
  module.def("finish_closing", &fgdm::Engine::finish_closing, pybind11::call_guard<Unlocked>());
  module.def("tensorrt_headers", &fgdm::tensorrt_headers);
  module.def("processor_attention", &fgdm::processor_attention);
  module.def(
      "runtime_devices",
      [](const std::string& library, const std::vector<std::string>& plugins) {
        const Unlocked unlocked;
        const std::vector<std::filesystem::path> paths(plugins.begin(), plugins.end());
        const auto runtime = fgdm::OrtRuntime::open(library, 1, paths);
        std::vector<std::tuple<std::string, std::string, std::string, std::string, std::string>>
            devices;
        for (auto& [provider, vendor, version, kind, name] : runtime->devices())
          devices.emplace_back(provider, vendor, version, kind, name);
        return std::pair(std::move(devices), runtime->plugin_problems());
      },
      pybind11::arg("library"), pybind11::arg("plugins"));
}

// What `import fgdm._core` calls. pybind11 itself waits for ever in some versions'
// sub-interpreters.
extern "C" PYBIND11_EXPORT PyObject* PyInit__core() {
  return fgdm::python::refuse_sub_interpreter() ? nullptr : PyInit__core_module();
}
