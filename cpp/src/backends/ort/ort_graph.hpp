#pragma once

#include <memory>

#include "fgdm/ort_session.hpp"
#include "ort_api.hpp"

namespace fgdm::ort {

// Loads a graph as OrtRuntime::load says. `runtime` keeps the environment alive; `device` is the
// GPU whose memory Place::device means.
std::unique_ptr<fgdm::Session> load_graph(std::shared_ptr<OrtRuntime> runtime, const Table& api,
                                          const Env* env, const OrtGraph& graph,
                                          SessionOptions* options, int device);

}  // namespace fgdm::ort
