#include <array>

#include <pybind11/chrono.h>
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <thread>

#include "errors.hpp"
#include "fgdm/bundle.hpp"
#include "fgdm/engine.hpp"
#include "fgdm/error.hpp"
#include "fgdm/manifest.hpp"
#include "fgdm/noise.hpp"
#include "fgdm/objects.hpp"
#include "fgdm/palette.hpp"
#include "fgdm/sampler.hpp"
#include "fgdm/selection.hpp"
#include "fgdm/tensorrt.hpp"
#include "fgdm/tokenizer.hpp"
#include "interpreter.hpp"
#include "request.hpp"
#include "results.hpp"

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
  return {new py::object(object), [](py::object* last) {
            if (is_finalizing())
              return;
            const py::gil_scoped_acquire lock;
            delete last;
          }};
}

StepCallback callback_from(const py::object& function) {
  if (function.is_none())
    return {};
  const auto held = shared_python(function);
  return [held](const StepInfo& info) {
    if (is_finalizing())
      return true;
    const py::gil_scoped_acquire lock;
    const auto step = std::make_shared<PythonStep>(&info);
    const PythonStep::Validity valid(*step);
    try {
      const py::object answer = (*held)(step);
      return !answer.is_none() && answer.cast<bool>();
    } catch (py::error_already_set& error) {
      // It must not leave this thread, where nobody may hold it without the lock.
      error.discard_as_unraisable("a step callback");
      return true;
    }
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
              if (is_finalizing())
                return;
              const py::gil_scoped_acquire lock;
              try {
                (*held)();
              } catch (py::error_already_set& error) {
                error.discard_as_unraisable("a function given to Job.when_done");
              }
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
      "padding"_a = metrics.padding, "rows_saved"_a = metrics.rows_saved,
      "candidates_failed"_a = metrics.candidates_failed, "context_hits"_a = metrics.context_hits,
      "context_misses"_a = metrics.context_misses, "retries"_a = metrics.retries,
      "queue_seconds"_a = metrics.queue_seconds, "session_seconds"_a = metrics.session_seconds);
}

void bind_engine(py::module_& module) {
  // The destructor waits for the engine's thread, whose callbacks need the interpreter lock.
  py::class_<Engine>(module, "Engine", py::release_gil_before_calling_cpp_dtor())
      .def(py::init([](const std::string& bundle, std::string backend, std::string precision,
                       int threads, const std::string& library, const std::string& tensorrt_library,
                       int max_batch_rows, int max_queue, int max_active, std::string policy,
                       const std::string& profile, const std::string& trace) {
             const EngineOptions options{std::move(backend),
                                         std::move(precision),
                                         threads,
                                         library,
                                         tensorrt_library,
                                         max_batch_rows,
                                         max_queue,
                                         max_active,
                                         std::move(policy),
                                         profile,
                                         trace};
             const Unlocked unlocked;
             return std::make_unique<Engine>(bundle, options);
           }),
           py::arg("bundle"), py::kw_only(), py::arg("backend") = "auto",
           py::arg("precision") = "auto", py::arg("threads") = 0, py::arg("library") = "",
           py::arg("tensorrt_library") = "", py::arg("max_batch_rows") = 32,
           py::arg("max_queue") = 256, py::arg("max_active") = 16, py::arg("policy") = "latency",
           py::arg("profile") = "", py::arg("trace") = "")
      .def_property_readonly("manifest", &Engine::manifest_json)
      .def_property_readonly("backend", &Engine::backend)
      .def_property_readonly("precision", &Engine::precision)
      .def_property_readonly("runtime", &Engine::runtime)
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
      .def("close", &Engine::close, py::call_guard<Unlocked>())
      .def(
          "submit",
          [](Engine& engine, const std::string& prompt, const py::kwargs& kwargs) {
            py::dict options = kwargs.attr("copy")();
            const py::object function = options.attr("pop")("step_callback", py::none());
            auto request = request_from(prompt, py::kwargs(options));
            auto callback = callback_from(function);
            const Unlocked unlocked;
            return engine.submit(std::move(request), std::move(callback));
          },
          py::arg("prompt"));
}

void bind_text(py::module_& module) {
  py::class_<Tokenizer>(module, "Tokenizer")
      .def(py::init([](const std::string& folder, int max_length) {
             return Tokenizer::load(folder, max_length);
           }),
           py::arg("folder"), py::arg("max_length"))
      .def(
          "encode",
          [](const Tokenizer& self, const std::string& text) { return self.encode(text); },
          py::arg("text"))
      .def(
          "tokenize",
          [](const Tokenizer& self, const std::string& text) { return self.tokenize(text); },
          py::arg("text"));
  module.def(
      "find_objects",
      [](const std::string& palette_json, const std::string& prompt) {
        const auto palette = Palette::parse(palette_json);
        auto objects = find_objects(palette, prompt);
        const auto names = [&](const std::vector<int>& indices) {
          std::vector<std::string> found;
          for (const int index : indices)
            found.push_back(palette.classes()[static_cast<std::size_t>(index)].name);
          return found;
        };
        return std::tuple(names(objects.requested), std::move(objects.unrecognized),
                          names(objects.excluded), objects.unrecognized_omitted);
      },
      py::arg("palette_json"), py::arg("prompt"), py::call_guard<Unlocked>());
}

// The numbers behind a bundle's samplers, for those who compare them with other implementations.
void bind_schedule(py::module_& module) {
  const auto kind_of = [](const std::string& name) {
    const auto kind = sampler_kind(name);
    if (!kind)
      throw RequestError("sampler is \"" + name + "\", expected " + sampler_names());
    return *kind;
  };
  const auto spacing_of =
      [](const std::optional<std::string>& name) -> std::optional<TimestepSpacing> {
    const auto spacing = name ? timestep_spacing(*name) : std::nullopt;
    if (name && !spacing)
      throw RequestError("spacing is \"" + *name + "\", expected " + spacing_names());
    return spacing;
  };
  py::class_<NoiseSchedule>(module, "NoiseSchedule")
      .def(py::init([](const std::string& manifest_json) {
             return Manifest::parse(manifest_json).schedule;
           }),
           py::arg("manifest_json"))
      .def("alphas_cumprod", [](const NoiseSchedule& self) { return alphas_cumprod(self); })
      .def(
          "timesteps",
          [=](const NoiseSchedule& self, const std::string& sampler, int num_inference_steps,
              const std::optional<std::string>& spacing) {
            return timesteps(self, num_inference_steps, kind_of(sampler), spacing_of(spacing));
          },
          py::arg("sampler"), py::arg("num_inference_steps"), py::arg("spacing") = py::none())
      .def(
          "coefficients",
          [=](const NoiseSchedule& self, const std::string& sampler, int num_inference_steps,
              const std::optional<std::string>& spacing) {
            const Sampler made(kind_of(sampler), self, num_inference_steps, 0, spacing_of(spacing));
            std::vector<std::array<float, 8>> all;
            for (int i = 0; i < num_inference_steps; ++i) {
              const auto& step = made.coefficients(i);
              all.push_back({step.x0_from_sample, step.x0_from_epsilon, step.sample, step.epsilon,
                             step.x0, step.history, step.older, step.noise});
            }
            return all;
          },
          py::arg("sampler"), py::arg("num_inference_steps"), py::arg("spacing") = py::none())
      .def(
          "known_weakness",
          [=](const NoiseSchedule& self, const std::string& sampler, int num_inference_steps,
              const std::optional<std::string>& spacing) {
            const auto kind = kind_of(sampler);
            return known_weakness(self, num_inference_steps, kind,
                                  spacing_of(spacing).value_or(self.spacing(kind)));
          },
          py::arg("sampler"), py::arg("num_inference_steps"), py::arg("spacing") = py::none())
      .def(
          "initial_scale",
          [=](const NoiseSchedule& self, const std::string& sampler, int num_inference_steps,
              const std::optional<std::string>& spacing) {
            return Sampler(kind_of(sampler), self, num_inference_steps, 0, spacing_of(spacing))
                .initial_scale();
          },
          py::arg("sampler"), py::arg("num_inference_steps"), py::arg("spacing") = py::none());
  module.def(
      "normal_noise",
      [](std::uint64_t seed, std::uint32_t candidate, std::uint32_t factor, std::uint32_t draw,
         std::size_t size) {
        py::array_t<float> noise(static_cast<py::ssize_t>(size));
        normal_noise(seed, candidate, factor, {noise.mutable_data(), size}, draw);
        return noise;
      },
      py::arg("seed"), py::arg("candidate"), py::arg("factor"), py::arg("draw"), py::arg("size"));
}

// What selection goes by: a map's recall, and its smallest area.
std::vector<MapRecall> recalls_of(const std::vector<std::pair<double, double>>& maps) {
  std::vector<MapRecall> recalls;
  for (const auto& [recall, smallest_area] : maps)
    recalls.push_back({recall, {}, {}, smallest_area});
  return recalls;
}

void bind_selection(py::module_& module) {
  py::class_<Selection>(module, "Selection")
      .def(py::init([](int candidates, int steps, std::vector<int> prune, double stop_at_recall,
                       int wave) {
             return Selection({candidates, steps, std::move(prune), stop_at_recall, wave});
           }),
           py::kw_only(), py::arg("candidates"), py::arg("steps"),
           py::arg("prune") = std::vector<int>{}, py::arg("stop_at_recall") = 0.0,
           py::arg("wave") = 0)
      .def_property_readonly("sampling", &Selection::sampling)
      .def_property_readonly("until", &Selection::until)
      .def_property_readonly("looks", &Selection::looks)
      .def_property_readonly("done", &Selection::done)
      .def(
          "seen",
          [](Selection& self, const std::vector<std::pair<double, double>>& maps) {
            if (maps.size() != (self.looks() ? self.sampling().size() : 0))
              throw RequestError("seen() was given " + std::to_string(maps.size()) +
                                 " maps, expected all of sampling where it looks, else none");
            return self.seen(recalls_of(maps));
          },
          py::arg("maps"));
  module.def(
      "select_map",
      [](const std::vector<std::pair<double, double>>& maps) { return select(recalls_of(maps)); },
      py::arg("maps"));
}

}  // namespace
}  // namespace fgdm::python

PYBIND11_MODULE(_core_module, module) {
  using namespace fgdm::python;
  module.doc() = "The C++ core of fgdm.";
  bind_errors(module);
  bind_step(module);
  bind_result(module);
  bind_job(module);
  bind_engine(module);
  bind_text(module);
  bind_schedule(module);
  bind_selection(module);
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
  module.def("version", [] { return FGDM_VERSION; });
  module.def("finish_closing", &fgdm::Engine::finish_closing, pybind11::call_guard<Unlocked>());
  module.def("tensorrt_headers", &fgdm::tensorrt_headers);
}

// What `import fgdm._core` calls. pybind11 itself waits for ever in some versions'
// sub-interpreters.
extern "C" PYBIND11_EXPORT PyObject* PyInit__core() {
  return fgdm::python::refuse_sub_interpreter() ? nullptr : PyInit__core_module();
}
