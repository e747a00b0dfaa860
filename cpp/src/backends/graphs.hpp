#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "device.hpp"
#include "fgdm/bundle.hpp"
#include "fgdm/options.hpp"
#include "fgdm/ort_session.hpp"
#include "step_graphs.hpp"
#include "tensorrt_session.hpp"
#include "trace.hpp"

namespace fgdm {

// Seconds per stage.
class Timings {
public:
  void add(const std::string& stage, double seconds) { seconds_[stage] += seconds; }
  void add(const Timings& other);
  double total() const;
  const std::map<std::string, double>& seconds() const { return seconds_; }

private:
  std::map<std::string, double> seconds_;
};

// A bundle's graphs, loaded on one backend: text, autoencoder, backbone and every factor's
// conditioning networks. One thread runs them. With EngineOptions::memory "low" only those of one
// factor's steps, or one other graph, are in memory at a time.
class Graphs {
public:
  using Sessions = std::map<std::string, std::unique_ptr<Session>>;

  Graphs(const Bundle& bundle, const EngineOptions& options);

  // Sessions that somebody else made, by graph; calls are traced to `trace`.
  explicit Graphs(Sessions sessions, const std::filesystem::path& trace = {},
                  std::shared_ptr<Device> device = host_device())
      : device_(std::move(device)), sessions_(std::move(sessions)), trace_(trace) {}

  // Runs a graph by its manifest name; the seconds it took are returned, and booked on `stage`.
  double run(const std::string& graph, const std::string& stage,
             std::span<const NamedTensor> inputs, std::span<const NamedTensor> outputs);

  // Rows that a graph computed only to fill up its plans' batches; 0 where it isn't loaded yet.
  std::int64_t padding(const std::string& graph) const;

  // Seconds of all calls so far, those that failed included.
  const Timings& timings() const { return timings_; }
  double total_seconds() const { return timings_.total(); }

  // Where the graphs' inputs and outputs belong.
  const std::shared_ptr<Device>& device() const { return device_; }

  Trace& trace() { return trace_; }
  std::string trace_problem() const { return trace_.problem(); }

  const std::string& backend() const { return backend_; }
  const std::string& precision() const { return precision_; }
  const std::string& runtime() const { return runtime_name_; }
  // What fgdm::SegFreeAttention is run by: OrtRuntime::attention, or "plan".
  const std::string& attention() const { return attention_; }
  const std::vector<std::string>& notes() const { return notes_; }

private:
  Session& session(const std::string& graph);
  bool load_plans(const Bundle& bundle, const EngineOptions& options);
  void note_absent_contexts(const EngineOptions& options, bool are_kept);
  void load_all(const Bundle& bundle, Provider provider, const OrtLoadOptions& how,
                const std::optional<std::filesystem::path>& contexts);

  std::shared_ptr<OrtRuntime> runtime_;
  std::shared_ptr<Device> device_ = host_device();
  std::unique_ptr<TensorRtBackend> tensorrt_;
  std::string runtime_name_, backend_, precision_, attention_;
  std::vector<std::string> notes_;
  Sessions sessions_;
  // Of graphs that few requests need, or of all where memory is short: loaded by a call.
  std::map<std::string, std::function<std::unique_ptr<Session>()>> later_;
  std::optional<StepGraphs> steps_;  // where memory is short
  Timings timings_;
  Trace trace_;
};

}  // namespace fgdm
