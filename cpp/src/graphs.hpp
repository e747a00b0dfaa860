#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "fgdm/bundle.hpp"
#include "fgdm/engine.hpp"
#include "fgdm/ort_session.hpp"

namespace fgdm {

// Seconds per stage of one request.
class Timings {
public:
  void add(const std::string& stage, double seconds) { seconds_[stage] += seconds; }
  double total() const;
  const std::map<std::string, double>& seconds() const { return seconds_; }

private:
  std::map<std::string, double> seconds_;
};

// A bundle's graphs, loaded on one backend: text, autoencoder, backbone and every factor's
// conditioning networks.
class Graphs {
public:
  Graphs(const Bundle& bundle, const EngineOptions& options);

  // Runs a graph by its manifest name and adds the time it took to `stage`.
  void run(const std::string& graph, const std::string& stage, std::span<const NamedTensor> inputs,
           std::span<const NamedTensor> outputs, Timings& timings);

  const std::string& backend() const { return backend_; }
  const std::string& precision() const { return precision_; }
  std::string runtime() const { return "onnxruntime " + runtime_->version(); }
  const std::vector<std::string>& notes() const { return notes_; }

private:
  void load_all(const Bundle& bundle, Provider provider, bool bfloat16);

  std::shared_ptr<OrtRuntime> runtime_;
  std::string backend_, precision_;
  std::vector<std::string> notes_;
  std::map<std::string, std::unique_ptr<Session>> sessions_;
};

}  // namespace fgdm
