#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "fgdm/api.h"
#include "fgdm/options.hpp"

namespace fgdm {

/// What compile_graphs did about a graph.
struct FGDM_API CompiledGraph {
  std::string graph;
  bool was_kept;        // its compiled context was there and could be loaded
  double seconds;       // that loading or compiling took
  std::uint64_t bytes;  // of the context; 0 where none could be made or kept
  std::vector<std::string> notes;
};

/// Compiles the graphs of a bundle that requests may run, for the backend, device and precision of
/// `options`, and keeps their compiled contexts where EngineOptions::contexts says; "auto" is
/// "bundle" here. Contexts that are there are loaded, which shows that they can be. One graph is
/// in memory at a time; `each` is called after every one.
///
/// Throws RequestError for a backend whose provider makes none, for contexts "off", and for options
/// that an engine wouldn't take; BundleError and BackendError as an engine that is opened.
FGDM_API std::vector<CompiledGraph>
compile_graphs(const std::filesystem::path& bundle, const EngineOptions& options,
               const std::function<void(const CompiledGraph&)>& each = {});

}  // namespace fgdm
