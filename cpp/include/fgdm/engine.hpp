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
  std::string backend = "auto";  // "auto", "cpu", "openvino", "cuda" or "tensorrt"
  // "auto"; "fp32" or "fp16", as the bundle's graphs or plans are; or "bf16" (openvino on a
  // processor that has it, float32 graphs).
  std::string precision = "auto";
  int threads = 0;  // of the runtime; 0: its own choice
  // libonnxruntime and libnvinfer; empty: what FGDM_ONNXRUNTIME and FGDM_TENSORRT name, or the
  // system's.
  std::filesystem::path library, tensorrt_library;
  int max_batch_rows = 32;  // rows of one backbone call, 2 or more
  int max_queue = 256;      // requests that may wait; one more is refused (QueueFullError)
  int max_active = 16;      // requests worked on at the same time
  // "latency": pictures before maps, older requests before newer. "throughput": whatever fills a
  // batch best. Neither lets anything wait for ever.
  std::string policy = "latency";
  std::filesystem::path profile;  // of measured batch times; empty: the bundle's, if it has one
  std::filesystem::path trace;    // written on destruction, for Perfetto; empty: none
};

// 8-bit pixels, row-major: (height, width, 3) colours or (height, width) labels.
struct Pixels {
  int height = 0, width = 0;
  std::vector<std::uint8_t> data;
};

// The longest prompt that is accepted, in bytes. (A text encoder reads the first 77 tokens or so.)
inline constexpr std::size_t max_prompt_size = std::size_t{1} << 15;

// What a request asks for. Unset options take the bundle's defaults; names are diffusers' where
// diffusers has the thing.
struct Request {
  std::string prompt, negative_prompt;              // UTF-8, at most max_prompt_size bytes
  std::optional<std::vector<std::string>> objects;  // requested classes; unset: from the prompt
  int candidates = 10;                              // maps to sample, 1 to 1000
  std::optional<std::uint64_t> seed;                // unset: random, reported in the result
  std::optional<int> condition_steps;               // sampler steps of condition factors, 1 to 1000
  std::optional<int> num_inference_steps;           // sampler steps of the image, 1 to 1000
  std::optional<GuidanceKind> guidance;             // of the image factor
  std::optional<double> guidance_scale;             // of the image factor, 0 to 100; up to 1: none
  std::optional<double> condition_guidance_scale;   // of condition factors, likewise
  std::optional<double> segfree_scale;              // a, 0 to 1000
  std::optional<double> segfree_guidance_scale;     // 0 to 100
  std::optional<double> segfree_start;              // fraction of the steps, 0 to 1
  // One for each network that sees a control image, or one for all, 0 to 10; empty: the bundle's.
  std::vector<double> controlnet_conditioning_scale;
  std::optional<SamplerKind> sampler, condition_sampler;  // of the image; of condition factors
  std::optional<double> min_area;    // of a map, for a class to count as found, 0 to 1
  std::optional<int> height, width;  // of the image in pixels; maps scale along
  std::vector<float> latents;        // (1, C, h, w) initial noise of the image; empty: from seed
  std::vector<float> condition_latents;  // (candidates, C, h, w) initial noise of the maps
  // Control images that no factor of the bundle makes: RGB of the image's size, by condition.
  std::map<std::string, Pixels> control_images;

  // Map steps after which the worse half of the candidates is dropped, by the recall of their
  // predicted x0; ascending, from 1 to condition_steps - 1.
  std::vector<int> prune;
  // The recall with which a candidate has won, so that no other needs to be finished; 0: every
  // candidate is sampled to its end. Previews are looked at after the steps of `prune` (without it,
  // after 4, 6 and 8 tenths of the steps): one that has won is finished alone, and if its map does
  // not hold what the preview promised, the others go on. So, without `prune`, the kept map's
  // recall reaches this number whenever it would if all were finished.
  std::optional<double> stop_at_recall;
  // Candidates sampled at a time, until one has won or there are `candidates` of them; 0: all at
  // once. Needs a stop_at_recall.
  int wave = 0;
  // The fractions of the steps, from the first and up to the second, in which there is guidance;
  // other steps run the positive row alone.
  Interval guidance_interval, condition_guidance_interval;

  int priority = 0;                // a request with a larger one goes first, -1000 to 1000
  std::optional<double> deadline;  // seconds from submit() on; then it fails with DeadlineError
};

// A sampler step that just ended.
struct StepInfo {
  const std::string& factor;
  int step, num_steps;              // from 0; of the factor
  int timestep;                     // training timestep the step started from
  std::span<const int> candidates;  // which of them took this step, as indices
  int channels, height, width;
  // (candidates, channels, height, width), valid during the call.
  std::span<const float> predicted_x0;
  // The RGB picture of a candidate's predicted x0, by the bundle's preview decoder if it has one,
  // else by its full decoder; valid during the call. Throws RequestError for a candidate that did
  // not take this step.
  std::function<Pixels(int candidate)> preview;
};

// Sees every step; true stops the request with CancelledError. Called on the engine's thread, where
// other requests wait for it.
using StepCallback = std::function<bool(const StepInfo&)>;

// One sampled map and what it holds.
struct Candidate {
  int index;
  double recall;                            // found / requested
  std::vector<std::string> found, missing;  // requested classes
  double smallest_area;                     // of the found classes, as a fraction of the map
  Pixels map, labels;                       // colours snapped to the palette; class indices
  int steps;                                // sampled; map and recall are those of the predicted
  bool pruned = false;                      // x0 where it was dropped before the last
  bool failed = false;  // its latent or its picture isn't finite: it holds nothing, can't be chosen
};

struct Result {
  Pixels image;
  std::vector<Candidate> candidates;
  int chosen;  // index into candidates
  std::vector<std::string> requested;
  std::vector<std::string> excluded;  // classes that the prompt names as what shall not be there
  // Words of the prompt that name no class of the palette, the first hundred; how many more.
  std::vector<std::string> unrecognized;
  std::size_t unrecognized_omitted = 0;
  // The ends of the prompt and of the negative prompt that the text encoder doesn't read, as they
  // are too long for it; empty: it reads all. Classes that are named only there are `unread`: they
  // aren't requested, unless Request::objects asks for them.
  std::string truncated, negative_truncated;
  std::vector<std::string> unread;
  std::uint64_t seed;
  std::int64_t map_rows = 0;  // backbone rows that the maps took
  // Seconds per stage: this request's share of the batches it was in. "queue": until work on it
  // began; "waiting": sessions that worked for others; "core": outside of sessions; "total": from
  // the beginning of work to the end.
  std::map<std::string, double> timings;
  Request request;  // every option as it was resolved
};

struct JobState;

// A submitted request: a future that can be cancelled. Copies speak of the same request.
class Job {
public:
  // Asks the engine to stop; takes effect at the next step. Does nothing to a finished job.
  void cancel() const;
  bool done() const;

  // Blocks until the job is done, at most `timeout`; false if it isn't done by then. Throws
  // RequestError in a callback of the same engine, unless the timeout is zero.
  bool wait(std::optional<std::chrono::duration<double>> timeout = std::nullopt) const;

  // Blocks until the job is done. Throws what the request failed with.
  const Result& result() const;

  // Calls `function` once the job is done: on the engine's thread, or at once if it is.
  // It must not throw; what it throws is dropped.
  void when_done(std::function<void()> function) const;

private:
  friend class Engine;
  explicit Job(std::shared_ptr<JobState> state) : state_(std::move(state)) {}
  std::shared_ptr<JobState> state_;
};

// What an engine has done since it was opened.
struct Metrics {
  std::int64_t accepted, finished, failed, cancelled, refused;  // requests; refused: queue full
  std::int64_t queued, active;                                  // requests, now
  std::int64_t batches, rows;                                   // of the backbone
  std::int64_t padding;     // rows computed besides, to fill up the batch of a TensorRT plan
  std::int64_t rows_saved;  // rows of maps that were dropped before their last step, or never begun
  std::int64_t candidates_failed;             // maps whose latent or picture isn't finite
  std::int64_t context_hits, context_misses;  // prompts found encoded, and encoded
  std::int64_t retries;                       // batches run again after a failure, most in parts
  double queue_seconds;                       // waited by all requests together before work began
  std::map<std::string, double> session_seconds;  // by stage
};

// How long one backbone call takes, in seconds, by rows; at one size of latents.
struct BatchTimes {
  int latent_height, latent_width;
  std::map<int, double> seconds;
};

// Loads a bundle once and serves many requests at the same time: rows of all of them share backbone
// batches, and requests enter and leave between steps. A request's result doesn't depend on its
// company.
//
// All methods can be called from any thread. From within a callback of the same engine, what would
// wait for the callback (generate, measure_batches, Job::wait) throws RequestError. In a forked
// child, closing does nothing and all other work throws RequestError: open an engine there.
// Destruction cancels what is queued or running and waits for it; from within a callback it doesn't
// wait, as that would be for itself.
class Engine {
public:
  // Throws BundleError for the bundle, BackendError for the runtime.
  explicit Engine(const std::filesystem::path& bundle, const EngineOptions& options = {});
  ~Engine();
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  // Cancels what is queued or running and waits for it (not from within a callback). Afterwards
  // requests are refused with RequestError; the networks are given back by destruction.
  void close();

  // Checks a request (RequestError) and queues it (QueueFullError).
  Job submit(Request request, StepCallback callback = {});

  // submit() and result().
  Result generate(Request request, StepCallback callback = {});

  // Waits for the threads of engines that were destroyed from within their own callbacks. For hosts
  // that are about to take down what callbacks use.
  static void finish_closing();

  const std::string& manifest_json() const;
  const std::string& backend() const;          // what "auto" became
  const std::string& precision() const;        // likewise
  std::string runtime() const;                 // such as "onnxruntime 1.31.1"
  std::span<const std::string> notes() const;  // what "auto" passed over or is slower, and why
  double load_seconds() const;
  // Why the trace is incomplete, such as a full disk; empty: it isn't.
  std::string trace_problem() const;
  const std::string& profile_key() const;  // what batch times are measured with
  Metrics metrics() const;

  // Measures a step of each factor with each number of rows; the median of `repeats` calls after a
  // first that doesn't count. Numbers of rows that find no memory are left out. `height` and
  // `width` are the image's; unset: the bundle's. For an idle engine: requests wait meanwhile.
  // Throws RequestError for a number of rows outside 1 to max_batch_rows or a size that no request
  // can have, OutOfMemoryError if even the fewest rows find no memory.
  std::vector<BatchTimes> measure_batches(std::span<const int> rows, int repeats,
                                          std::optional<int> height = {},
                                          std::optional<int> width = {});

private:
  struct Implementation;
  std::unique_ptr<Implementation> implementation_;
};

}  // namespace fgdm
