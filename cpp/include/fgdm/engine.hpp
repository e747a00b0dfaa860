#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "fgdm/guidance.hpp"
#include "fgdm/sampler.hpp"

namespace fgdm {

// Where and how an engine runs its graphs.
struct EngineOptions {
  std::string backend = "auto";  // "auto", "cpu", "openvino" or "cuda"
  std::string precision =
      "auto";                     // "auto", "fp32", or "bf16" (openvino on a processor that has it)
  int threads = 0;                // of the runtime; 0: its own choice
  std::filesystem::path library;  // libonnxruntime; empty: FGDM_ONNXRUNTIME or the system's
  int max_batch_rows = 32;        // rows of one backbone call; larger requests run in parts
};

// 8-bit pixels, row-major: (height, width, 3) colours or (height, width) labels.
struct Pixels {
  int height = 0, width = 0;
  std::vector<std::uint8_t> data;
};

// What a request asks for. Unset options take the bundle's defaults; names are diffusers' where
// diffusers has the thing.
struct Request {
  std::string prompt;
  std::string negative_prompt;
  std::optional<std::vector<std::string>> objects;  // requested classes; unset: from the prompt
  int candidates = 10;                              // maps to sample, 1 to 1000
  std::optional<std::uint64_t> seed;                // unset: random, reported in the result
  std::optional<int> condition_steps;               // sampler steps of condition factors, 1 to 1000
  std::optional<int> num_inference_steps;           // sampler steps of the image, 1 to 1000
  std::optional<GuidanceKind> guidance;             // of the image factor
  std::optional<double> guidance_scale;             // of the image factor, 0 to 100
  std::optional<double> condition_guidance_scale;   // of condition factors, 0 to 100
  std::optional<double> segfree_scale;              // a, 0 to 1000
  std::optional<double> segfree_guidance_scale;     // 0 to 100
  std::optional<double> segfree_start;              // fraction of the steps, 0 to 1
  // One for each network that sees a control image, or one for all, 0 to 10; empty: the bundle's.
  std::vector<double> controlnet_conditioning_scale;
  SamplerKind sampler = SamplerKind::ddim;
  double min_area = 0.002;           // of a map, for a class to count as found, 0 to 1
  std::optional<int> height, width;  // of the image in pixels; maps scale along
  std::vector<float> latents;        // (1, C, h, w) initial noise of the image; empty: from seed
  std::vector<float> condition_latents;  // (candidates, C, h, w) initial noise of the maps
  // Control images that no factor of the bundle makes: RGB of the image's size, by condition.
  std::map<std::string, Pixels> control_images;
};

// A sampler step that just ended.
struct StepInfo {
  const std::string& factor;
  int step, num_steps;  // from 0; of the factor
  int timestep;         // training timestep the step started from
  int rows;             // candidates of this factor
  int channels, height, width;
  std::span<const float> predicted_x0;  // (rows, channels, height, width), valid during the call
  // The RGB picture of a row's predicted x0, by the bundle's preview decoder if it has one, else by
  // its full decoder; valid during the call. Throws RequestError for a row that isn't there.
  std::function<Pixels(int row)> preview;
};

// Sees every step; true stops the request with CancelledError. Called on the engine's thread.
using StepCallback = std::function<bool(const StepInfo&)>;

// One sampled map and what it holds.
struct Candidate {
  int index;
  double recall;                            // found / requested
  std::vector<std::string> found, missing;  // requested classes
  double smallest_area;                     // of the found classes, as a fraction of the map
  Pixels map, labels;                       // colours snapped to the palette; class indices
};

struct Result {
  Pixels image;
  std::vector<Candidate> candidates;
  int chosen;  // index into candidates
  std::vector<std::string> requested;
  std::vector<std::string> unrecognized;  // words of the prompt that name no class of the palette
  std::uint64_t seed;
  std::map<std::string, double> timings;  // seconds per stage, "core" (all else) and "total"
  Request request;                        // every option as it was resolved
};

// A submitted request: a future that can be cancelled. Copies speak of the same request.
class Job {
public:
  // Asks the engine to stop; takes effect at the next step. Does nothing to a finished job.
  void cancel() const;
  bool done() const;

  // Blocks until the job is done, at most `timeout`; false if it isn't done by then.
  bool wait(std::optional<std::chrono::duration<double>> timeout = std::nullopt) const;

  // Blocks until the job is done. Throws what the request failed with.
  const Result& result() const;

private:
  friend class Engine;
  struct State;
  explicit Job(std::shared_ptr<State> state) : state_(std::move(state)) {}
  std::shared_ptr<State> state_;
};

// Loads a bundle once and serves requests one after another, in the order they came.
//
// All methods can be called from any thread. Destruction cancels what is queued or running and
// waits for it.
class Engine {
public:
  // Throws BundleError for the bundle, BackendError for the runtime.
  explicit Engine(const std::filesystem::path& bundle, const EngineOptions& options = {});
  ~Engine();
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  // Checks a request (RequestError) and queues it.
  Job submit(Request request, StepCallback callback = {});

  // submit() and result().
  Result generate(Request request, StepCallback callback = {});

  const std::string& manifest_json() const;
  const std::string& backend() const;          // what "auto" became
  const std::string& precision() const;        // likewise
  std::string runtime() const;                 // such as "onnxruntime 1.31.1"
  std::span<const std::string> notes() const;  // backends that "auto" passed over, and why
  double load_seconds() const;

private:
  struct Implementation;
  std::unique_ptr<Implementation> implementation_;
};

}  // namespace fgdm
