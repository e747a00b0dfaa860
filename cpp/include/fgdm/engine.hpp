#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "fgdm/api.h"
#include "fgdm/bytes.hpp"
#include "fgdm/device_array.hpp"
#include "fgdm/job.hpp"
#include "fgdm/options.hpp"
#include "fgdm/request.hpp"
#include "fgdm/result.hpp"

namespace fgdm {

// What an engine has done since it was opened.
struct FGDM_API Metrics {
  std::int64_t accepted, finished, failed, cancelled, refused;  // requests; refused: queue full
  std::int64_t queued, active;                                  // requests, now
  std::int64_t batches, rows;                                   // of the backbone
  std::map<int, std::int64_t> batches_of_rows;  // of the backbone, by how many rows they had
  // Rows that could be in a batch now, were there room for all: of active requests, and what those
  // that are queued begin with.
  std::int64_t waiting_rows;
  std::int64_t padding;  // rows computed besides, to fill up the batch of a TensorRT plan
  // Rows of maps that were dropped before their last step, or never begun, and of joint images.
  std::int64_t rows_saved;
  std::int64_t candidates_failed;             // maps whose latent or picture isn't finite
  std::int64_t context_hits, context_misses;  // prompts found encoded, and encoded
  std::int64_t retries;                       // batches run again after a failure, most in parts
  double queue_seconds;                       // waited by all requests together before work began
  std::map<std::string, double> session_seconds;  // by stage
};

// How long one backbone call takes, in seconds, by rows; at one size of latents.
struct FGDM_API BatchTimes {
  int latent_height, latent_width;
  std::map<int, double> seconds;
  std::string backbone{};  // graph; "" = the one that factors share
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
class FGDM_API Engine {
public:
  // Opens a bundle's folder, or an archive that `fgdm pack` made of one, which is mapped: it may be
  // removed or replaced by another meanwhile, but not changed or shortened. Throws BundleError for
  // the bundle, BackendError for the runtime.
  explicit Engine(const std::filesystem::path& bundle, const EngineOptions& options = {});

  // Opens an archive in memory, whose bytes are used where they lie. Its owner is released when the
  // engine needs them no longer. Without an owner the caller keeps them until the destructor has
  // returned, or, if that is called from within a callback of the engine, until finish_closing()
  // has. They begin at a multiple of 16 (RequestError), as malloc and mmap give them. Throws as
  // above.
  explicit Engine(Bytes archive, const EngineOptions& options = {});
  ~Engine();
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  // Cancels what is queued or running and waits for it (not from within a callback). Afterwards
  // requests are refused with RequestError; the networks are given back by destruction.
  void close();

  // Checks a request (RequestError) and queues it (QueueFullError).
  Job submit(Request request, StepCallback callback = {}, MapCallback map_callback = {},
             SelectCallback select_callback = {});

  // submit() and result().
  Result generate(Request request, StepCallback callback = {}, MapCallback map_callback = {},
                  SelectCallback select_callback = {});

  // Waits for the threads of engines that were destroyed from within their own callbacks. For hosts
  // that are about to take down what callbacks use.
  static void finish_closing();

  // How arrays come to this engine that its networks can read where they lie. With TensorRT, and
  // with ONNX Runtime's own CUDA provider where fgdm's kernels are there, that is the GPU's memory.
  Exchange exchange() const;

  // An array there that is somebody else's: `owner` keeps it, and may go on any thread. It is
  // written when what exchange()'s stream waits for now is done.
  std::shared_ptr<const SharedMemory> adopt(std::byte* data, std::size_t bytes,
                                            std::shared_ptr<void> owner) const;

  const std::string& manifest_json() const;
  // A copy of a file that the manifest lists, such as a palette. Throws RequestError for another
  // name, BundleError if it can't be read.
  std::string bundle_file(const std::string& name) const;
  const std::string& backend() const;    // what "auto" became
  const std::string& precision() const;  // likewise
  std::string runtime() const;           // such as "onnxruntime 1.31.1"
  // What fgdm::SegFreeAttention is run by: the name of our kernel, such as "avx2" or "cuda"; "plan"
  // for what a plan was built with; or "standard" ops.
  const std::string& attention() const;
  // What "auto" passed over or is slower, and why; known weaknesses of factors' defaults.
  std::span<const std::string> notes() const;
  double load_seconds() const;
  // Why the trace is incomplete, such as a full disk; empty: it isn't.
  std::string trace_problem() const;
  const std::string& profile_key() const;  // what batch times are measured with
  Metrics metrics() const;

  // Measures a step of each factor with each number of rows (of maps of one size and backbone, the
  // first factor's); the median of `repeats` calls after a first that doesn't count. Numbers of
  // rows that find no memory are left out. `height` and `width` are the image's; unset: the
  // bundle's. For an idle engine: requests wait meanwhile. Throws RequestError for a number of rows
  // outside 1 to max_batch_rows or a size that no request can have, OutOfMemoryError if even the
  // fewest rows find no memory. `poll` is called a few times a second on the caller's thread; what
  // it throws stops the measuring, and is thrown.
  std::vector<BatchTimes> measure_batches(std::span<const int> rows, int repeats,
                                          std::optional<int> height = {},
                                          std::optional<int> width = {},
                                          const std::function<void()>& poll = {});

private:
  struct Implementation;
  std::unique_ptr<Implementation> implementation_;
};

}  // namespace fgdm
