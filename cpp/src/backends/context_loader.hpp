#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "contexts.hpp"
#include "fgdm/bundle.hpp"
#include "fgdm/options.hpp"
#include "fgdm/ort_session.hpp"

namespace fgdm {

// For messages: who makes contexts.
inline constexpr std::string_view context_makers =
    "\"openvino\" and \"tensorrt-rtx\" do, by plugins (onnxruntime-ep-openvino, "
    "onnxruntime-ep-nv-tensorrt-rtx)";

// Whether EngineOptions::contexts asks for compiled contexts of whatever backend.
bool asks_for_contexts(const EngineOptions& options);

// The folder in which EngineOptions::contexts has a provider's compiled contexts kept; none, if
// they aren't. Throws RequestError where they are asked for, of a backend that makes none; "auto"
// may come to be one.
std::optional<std::filesystem::path> contexts_folder(const EngineOptions& options,
                                                     const Bundle& bundle, Provider provider,
                                                     const OrtRuntime& runtime);

// Loads graphs from their compiled contexts, or compiles them and keeps what comes of it. What it
// can't keep, it does without.
class ContextLoader {
public:
  // A graph, and all that its context depends on.
  struct Graph {
    std::string name;
    OrtGraph file;
    GraphSpec described;
    nlohmann::json covers;
  };

  struct Loaded {
    std::unique_ptr<Session> session;
    bool was_kept;        // or else compiled
    std::uint64_t bytes;  // of a context that is kept now; 0: none is
  };

  ContextLoader(std::shared_ptr<OrtRuntime> runtime, Provider provider, OrtLoadOptions how,
                std::filesystem::path folder);

  Graph describe(const Bundle& bundle, const std::string& name) const;

  // Throws as OrtRuntime::load does, and BundleError for a file that isn't the manifest's graph.
  Loaded load(const Graph& graph);

  // What its user should know of the graphs that were loaded since the last call.
  std::vector<std::string> take_notes() { return std::exchange(notes_, {}); }

private:
  OrtLoadOptions how_to_load(const Graph& graph) const;
  std::unique_ptr<Session> load_checked(const Graph& graph, const OrtGraph& file,
                                        const OrtLoadOptions& how) const;
  // replaces: whether a context is there, which the provider refuses.
  Loaded compile(const Graph& graph, bool replaces);
  void give_up(const std::string& why);

  std::shared_ptr<OrtRuntime> runtime_;
  Provider provider_;
  OrtLoadOptions how_;
  ContextFolder folder_;
  OrtTarget target_;
  bool given_up_ = false;  // keeping what is compiled
  std::vector<std::string> notes_;
};

}  // namespace fgdm
