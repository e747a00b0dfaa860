#include "tensorrt_session.hpp"

#include <algorithm>
#include <cstring>
#include <limits>

#include "fgdm/error.hpp"
#include "fgdm/sha256.hpp"

namespace fgdm {
namespace {

Bytes read_plan(const FileTree& files, const Plan& plan) {
  const auto name = plan.file.string();
  auto content = files.read(name, 0, plan.size);
  Sha256 hash;
  hash.update(content.data);
  if (files.size(name) != plan.size || hash.hex() != plan.sha256)
    throw BundleError(files.place(name) + " is damaged; build the plan again");
  return content;
}

std::string row_words(std::span<const NamedTensor> tensors) {
  std::string words;
  for (const auto& [name, tensor] : tensors) {
    words += (words.empty() ? "" : ", ") + std::string(name) + " (";
    for (std::size_t i = 0; i < tensor.shape.size(); ++i)
      words += (i > 0 ? "x" : "") + std::to_string(tensor.shape[i]);
    words += ")";
  }
  return words;
}

void check_type(const Slot& slot, const TensorView& tensor) {
  if (tensor.dtype != slot.dtype)
    throw BackendError(slot.name + " is " + std::string(dtype_name(tensor.dtype)) +
                       ", but the plan has " + std::string(dtype_name(slot.dtype)) +
                       " for it; build the plan again");
}

// nullptr: it isn't among them.
const TensorView* find(std::span<const NamedTensor> tensors, const std::string& name) {
  const auto found = std::ranges::find(tensors, std::string_view(name), &NamedTensor::name);
  return found == tensors.end() ? nullptr : &found->tensor;
}

const TensorView& input(std::span<const NamedTensor> tensors, const std::string& name,
                        const std::string& graph) {
  const auto* found = find(tensors, name);
  if (found == nullptr)
    throw BackendError("running " + graph + ": the plan wants " + name + ", which wasn't given");
  return *found;
}

}  // namespace

Layout lay_out(const Plan& plan, std::size_t profile, std::span<const EngineTensor> tensors) {
  Layout layout;
  const auto add = [&](const PlanTensor& tensor, bool is_input) {
    const auto found = std::ranges::find(tensors, tensor.name, &EngineTensor::name);
    if (found == tensors.end())
      return;  // an unused input, which the builder left out
    std::size_t row_bytes = dtype_size(found->dtype);
    const auto& shape = tensor.shapes[profile];
    const bool by_rows = has_rows(tensor.name);
    for (std::size_t i = by_rows ? 1 : 0; i < shape.size(); ++i)
      row_bytes *= static_cast<std::size_t>(shape[i]);
    layout.slots.push_back({tensor.name, found->dtype, layout.bytes, row_bytes, is_input, by_rows});
    const int rows = by_rows ? plan.profiles[profile].rows : 1;
    layout.bytes += cuda::aligned(row_bytes * static_cast<std::size_t>(rows));
  };
  for (const auto& tensor : plan.inputs)
    add(tensor, true);
  for (const auto& tensor : plan.outputs)
    add(tensor, false);
  if (layout.slots.size() != tensors.size())
    throw BackendError(plan.file.string() +
                       " has inputs or outputs that its metadata doesn't name; build it again");
  return layout;
}

void stage(const Slot& slot, const TensorView& from, std::size_t first, std::size_t rows,
           std::size_t bucket, std::byte* to) {
  const auto row_elements = slot.row_bytes / dtype_size(slot.dtype);
  const auto* begin =
      static_cast<const std::byte*>(from.data) + first * row_elements * dtype_size(from.dtype);
  if (from.dtype == slot.dtype) {
    std::memcpy(to, begin, rows * slot.row_bytes);
  } else if (from.dtype == DType::int64 && slot.dtype == DType::int32) {
    const auto* numbers = reinterpret_cast<const std::int64_t*>(begin);
    for (std::size_t i = 0; i < rows * row_elements; ++i) {
      const auto small = static_cast<std::int32_t>(numbers[i]);
      if (small != numbers[i])
        throw BackendError(slot.name + " holds " + std::to_string(numbers[i]) +
                           ", which the plan's int32 can't");
      std::memcpy(to + i * sizeof(small), &small, sizeof(small));
    }
  } else {
    check_type(slot, from);
  }
  for (std::size_t row = rows; row < bucket; ++row)
    std::memcpy(to + row * slot.row_bytes, to + (rows - 1) * slot.row_bytes, slot.row_bytes);
}

void unstage(const Slot& slot, const std::byte* from, const TensorView& to, std::size_t first,
             std::size_t rows) {
  check_type(slot, to);
  std::memcpy(static_cast<std::byte*>(to.data) + first * slot.row_bytes, from,
              rows * slot.row_bytes);
}

// A graph on TensorRT. Rows are padded up to a plan's bucket, or split where they are more than the
// largest. From its second run on, a profile runs as one CUDA graph.
class TensorRtSession final : public Session {
public:
  TensorRtSession(TensorRtBackend& backend, std::string graph, const GraphSpec& spec)
      : backend_(backend), graph_(std::move(graph)), inputs_(spec.inputs), outputs_(spec.outputs) {}

  std::span<const TensorSpec> inputs() const override { return inputs_; }
  std::span<const TensorSpec> outputs() const override { return outputs_; }

  void run(std::span<const NamedTensor> inputs, std::span<const NamedTensor> outputs) override {
    if (inputs.empty() || inputs.front().tensor.shape.empty())
      throw BackendError("running " + graph_ + ": no input with rows was given");
    backend_.gpu_->make_current();
    const auto total = static_cast<std::size_t>(inputs.front().tensor.shape.front());
    for (std::size_t first = 0; first < total;) {
      const auto choice = choose_profile(backend_.plans_, graph_, inputs, outputs, total - first);
      if (!choice)
        throw BackendError("no plan of " + graph_ + " has these shapes: " + row_words(inputs) +
                           "; build one with fgdm build --target tensorrt --sizes HxW");
      const auto bucket = static_cast<std::size_t>(choice->plan->profiles[choice->profile].rows);
      const auto rows = std::min(total - first, bucket);
      try {
        run_rows(lane(*choice), inputs, outputs, first, rows, bucket);
      } catch (const OutOfMemoryError&) {
        forget(*choice);  // a smaller bucket's plan may fit once this one's weights are gone
        throw;
      }
      first += rows;
      padding_ += static_cast<std::int64_t>(bucket - rows);
    }
  }

  std::int64_t padding() const override { return padding_; }

private:
  // A profile with its execution context; its CUDA graph holds addresses, which `generation` dates.
  struct Lane {
    Lane(std::unique_ptr<PlanContext> made, Layout laid_out, const TensorRtBackend& backend)
        : context(std::move(made)), layout(std::move(laid_out)), cuda_graph(backend.gpu_),
          can_record(!backend.stream_->is_callers()) {}

    std::unique_ptr<PlanContext> context;
    Layout layout;
    cuda::RecordedGraph cuda_graph;
    std::vector<int> generation;
    bool has_run = false;
    bool can_record;
    bool counted = false;
  };

  Lane& lane(const PlanChoice& choice) {
    auto& found = lanes_[{choice.plan, choice.profile}];
    if (!found) {
      auto& engine = backend_.engine(*choice.plan);
      auto context = engine.make_context(choice.profile, backend_.stream_->get());
      backend_.stream_->synchronize();
      found = std::make_unique<Lane>(
          std::move(context), lay_out(*choice.plan, choice.profile, engine.tensors(choice.profile)),
          backend_);
    }
    return *found;
  }

  // Frees a lane's memory, and its plan's if no other lane is of that plan.
  void forget(const PlanChoice& choice) {
    lanes_.erase({choice.plan, choice.profile});
    const auto same_plan = [&](const auto& lane) { return lane.first.first == choice.plan; };
    if (std::ranges::none_of(lanes_, same_plan))
      backend_.engines_.erase(choice.plan);
  }

  // Gives a lane its memory. Blocks move when another lane needs more of them.
  void place(Lane& lane) {
    backend_.scratch_.reserve(lane.context->scratch_bytes());
    backend_.tensors_.reserve(lane.layout.bytes);
    const std::vector<int> generation{backend_.scratch_.generation(),
                                      backend_.tensors_.generation()};
    if (lane.generation == generation)
      return;
    lane.cuda_graph.clear();
    lane.has_run = false;
    lane.context->use_scratch(backend_.scratch_.data(), backend_.scratch_.size());
    for (const auto& slot : lane.layout.slots)
      lane.context->bind(slot.name, backend_.tensors_.data() + slot.offset);
    lane.generation = generation;
  }

  // Rows that a graph on the GPU left there are copied there; others pass through pinned memory.
  void feed(const Slot& slot, const TensorView& from, std::size_t first, std::size_t rows,
            std::size_t bucket) const {
    const auto& stream = *backend_.stream_;
    std::byte* const to = backend_.tensors_.data() + slot.offset;
    if (from.place == Place::host) {
      std::byte* const staging = backend_.staging_.data() + slot.offset;
      stage(slot, from, first, rows, bucket, staging);
      stream.upload(to, staging, bucket * slot.row_bytes);
      return;
    }
    check_type(slot, from);
    const auto* begin = static_cast<const std::byte*>(from.data) + first * slot.row_bytes;
    stream.copy(to, begin, rows * slot.row_bytes);
    for (std::size_t row = rows; row < bucket; ++row)
      stream.copy(to + row * slot.row_bytes, begin + (rows - 1) * slot.row_bytes, slot.row_bytes);
  }

  void fetch(const Slot& slot, const TensorView& to, std::size_t first, std::size_t rows) const {
    const std::byte* const from = backend_.tensors_.data() + slot.offset;
    if (to.place == Place::host) {
      backend_.stream_->download(backend_.staging_.data() + slot.offset, from,
                                 rows * slot.row_bytes);
      return;
    }
    check_type(slot, to);
    backend_.stream_->copy(static_cast<std::byte*>(to.data) + first * slot.row_bytes, from,
                           rows * slot.row_bytes);
  }

  void run_rows(Lane& lane, std::span<const NamedTensor> inputs,
                std::span<const NamedTensor> outputs, std::size_t first, std::size_t rows,
                std::size_t bucket) {
    place(lane);
    const auto on_host = [](const NamedTensor& named) { return named.tensor.place == Place::host; };
    if (std::ranges::any_of(inputs, on_host) || std::ranges::any_of(outputs, on_host))
      backend_.staging_.reserve(lane.layout.bytes);
    for (const auto& slot : lane.layout.slots)
      if (slot.is_input && slot.has_rows)
        feed(slot, input(inputs, slot.name, graph_), first, rows, bucket);
      else if (slot.is_input)
        feed(slot, input(inputs, slot.name, graph_), 0, 1, 1);
    const auto& stream = *backend_.stream_;
    // TensorRT wants one ordinary run after a change of shapes or addresses before it is recorded.
    if (lane.has_run && lane.can_record && !lane.cuda_graph.ready()) {
      lane.can_record = record(lane);
      backend_.recorded_graphs_ += lane.can_record && !lane.counted ? 1 : 0;
      lane.counted = lane.counted || lane.can_record;
    }
    if (lane.cuda_graph.ready() && !lane.cuda_graph.launch(stream)) {
      lane.cuda_graph.clear();
      lane.can_record = false;
    }
    if (!lane.cuda_graph.ready())
      lane.context->enqueue(stream.get());
    for (const auto& slot : lane.layout.slots)
      if (const auto* to = slot.is_input ? nullptr : find(outputs, slot.name))
        fetch(slot, *to, first, rows);
    stream.synchronize();
    lane.has_run = true;
    for (const auto& slot : lane.layout.slots) {
      const auto* to = slot.is_input ? nullptr : find(outputs, slot.name);
      if (to != nullptr && to->place == Place::host)
        unstage(slot, backend_.staging_.data() + slot.offset, *to, first, rows);
    }
  }

  // False if TensorRT or the driver can't record this plan, which runs unrecorded then.
  bool record(Lane& lane) const {
    const auto& stream = *backend_.stream_;
    try {
      return lane.cuda_graph.record(stream, [&] { lane.context->enqueue(stream.get()); });
    } catch (const BackendError&) {
      return false;
    }
  }

  TensorRtBackend& backend_;
  std::string graph_;
  std::vector<TensorSpec> inputs_, outputs_;
  std::int64_t padding_ = 0;
  std::map<std::pair<const Plan*, std::size_t>, std::unique_ptr<Lane>> lanes_;
};

TensorRtBackend::TensorRtBackend(std::shared_ptr<const cuda::Gpu> gpu,
                                 std::shared_ptr<PlanRuntime> runtime,
                                 std::shared_ptr<const FileTree> files, std::vector<Plan> plans,
                                 cuda::Stream callers)
    : gpu_(std::move(gpu)), runtime_(std::move(runtime)), files_(std::move(files)),
      plans_(std::move(plans)), stream_(std::make_shared<cuda::WorkStream>(gpu_, callers)),
      scratch_(gpu_, cuda::Block::Place::device), tensors_(gpu_, cuda::Block::Place::device),
      staging_(gpu_, cuda::Block::Place::pinned_host) {}

std::unique_ptr<Session> TensorRtBackend::load(const std::string& graph, const GraphSpec& spec) {
  if (std::ranges::find(plans_, graph, &Plan::graph) == plans_.end())
    throw BackendError("no plan of " + graph +
                       " fits this machine; build it with fgdm build --target tensorrt");
  return std::make_unique<TensorRtSession>(*this, graph, spec);
}

PlanEngine& TensorRtBackend::engine(const Plan& plan) {
  auto& found = engines_[&plan];
  if (!found)
    found = runtime_->deserialise(read_plan(*files_, plan).data);
  return *found;
}

}  // namespace fgdm
