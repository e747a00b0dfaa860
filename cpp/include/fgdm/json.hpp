#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "fgdm/api.h"
#include "fgdm/engine.hpp"

namespace fgdm {

// The JSON forms of what an engine takes and gives. Python, HTTP and C have these and no others.

// A request: an object whose keys are the names of Request, such as {"prompt": "two dogs",
// "candidates": 4, "factors": {"depth": null}}. What is left out or null takes its default; a
// factor that is null is left out of the chain. Pictures, maps and latents are no JSON: the request
// gets them afterwards. Throws RequestError that names the option, what was given and what was
// expected; ranges are checked by Engine::submit.
FGDM_API Request parse_request(std::string_view json);

// An engine's options: an object whose keys are the names of EngineOptions, such as
// {"backend": "cpu", "threads": 4}; "forbid" is a list, as in a request. Throws RequestError.
FGDM_API EngineOptions parse_engine_options(std::string_view json);

// What made a result.
struct FGDM_API EngineInfo {
  std::string version, bundle;  // fgdm's; the bundle's name
  std::string backend, precision, runtime, attention;
  std::vector<std::string> factors;  // of the chain, in its order
  std::vector<std::string> notes;    // Engine::notes()
  double load_seconds = 0.0;
};
FGDM_API EngineInfo engine_info(const Engine& engine);

// {"version", "bundle", "backend", "precision", "runtime", "attention", "factors", "notes",
// "load_seconds"}.
FGDM_API std::string engine_json(const EngineInfo& info);

// The names of Metrics and their values.
FGDM_API std::string metrics_json(const Metrics& metrics);

// A finished request without its pixels, as engine/result.schema.json describes it.
FGDM_API std::string result_json(const Result& result, const EngineInfo& info);

}  // namespace fgdm
