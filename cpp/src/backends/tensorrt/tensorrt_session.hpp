#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "cuda_gpu.hpp"
#include "fgdm/session.hpp"
#include "plan_engine.hpp"
#include "plans.hpp"

namespace fgdm {

// One GPU with TensorRT and the plans that fit it. Its sessions share one stream, one block of
// scratch memory and one block for inputs and outputs: they run one after another.
class TensorRtBackend {
public:
  // `plans` fit the device and the runtime. Their engines are loaded from the bundle's files when a
  // run first needs them. Work is queued on `callers`, or, without one, on a stream of its own.
  TensorRtBackend(std::shared_ptr<const cuda::Gpu> gpu, std::shared_ptr<PlanRuntime> runtime,
                  std::shared_ptr<const FileTree> files, std::vector<Plan> plans,
                  cuda::Stream callers = nullptr);

  // The graph of that name. The backend must outlive its sessions. Throws BackendError if no plan
  // is of this graph.
  std::unique_ptr<Session> load(const std::string& graph, const GraphSpec& spec);

  std::string version() const { return runtime_->version(); }

  // Where all sessions queue their work.
  const std::shared_ptr<const cuda::WorkStream>& stream() const { return stream_; }

  // Bytes of the scratch memory that all contexts share.
  std::size_t scratch_bytes() const { return scratch_.size(); }

  // How many profiles run as a recorded CUDA graph. One that the runtime can't record runs as it
  // is, with the same result; so do all on a caller's stream, where others' work would be recorded.
  int recorded_graphs() const { return recorded_graphs_; }

private:
  friend class TensorRtSession;

  PlanEngine& engine(const Plan& plan);

  std::shared_ptr<const cuda::Gpu> gpu_;
  std::shared_ptr<PlanRuntime> runtime_;
  std::shared_ptr<const FileTree> files_;
  std::vector<Plan> plans_;
  std::shared_ptr<const cuda::WorkStream> stream_;
  cuda::Block scratch_, tensors_, staging_;
  std::map<const Plan*, std::unique_ptr<PlanEngine>> engines_;
  int recorded_graphs_ = 0;
};

// Where a tensor lies in the blocks for inputs and outputs, and what is copied there.
struct Slot {
  std::string name;
  DType dtype;            // in the plan
  std::size_t offset;     // bytes; a multiple of 256
  std::size_t row_bytes;  // in the plan
  bool is_input;
  bool has_rows = true;  // otherwise row_bytes is all of it, the same for all rows
};

// The slots of an engine's tensors, inputs first, and the bytes that they take.
struct Layout {
  std::vector<Slot> slots;
  std::size_t bytes = 0;
};

Layout lay_out(const Plan& plan, std::size_t profile, std::span<const EngineTensor> tensors);

// Copies rows of a tensor into a plan's, which may want int32 for int64 (TensorRT 8 has no int64),
// and fills up to `bucket` rows with the last of them, so that no row computes with garbage. Throws
// BackendError if the types can't be matched or a number doesn't fit.
void stage(const Slot& slot, const TensorView& from, std::size_t first, std::size_t rows,
           std::size_t bucket, std::byte* to);

// Copies rows of a plan's tensor out. BackendError if the types differ.
void unstage(const Slot& slot, const std::byte* from, const TensorView& to, std::size_t first,
             std::size_t rows);

}  // namespace fgdm
