#include "attention_op.hpp"

#include <array>
#include <atomic>
#include <exception>
#include <new>
#include <string>
#include <thread>
#include <vector>

#include "attention.hpp"
#include "fgdm/error.hpp"
#include "ort_custom_op.hpp"
#include "wording.hpp"

namespace fgdm::ort {
namespace {

// The node's inputs, in order: q (B, H, P, d), k and v (B, H, T, d), attn_scale (B), argmax_mask
// (B, T). The output is as q.
enum Position : std::size_t { position_q, position_k, position_v, position_scale, position_mask };
constexpr std::array<const char*, 5> input_names{"q", "k", "v", "attn_scale", "argmax_mask"};
constexpr std::size_t num_inputs = input_names.size();

using Dimensions = std::vector<std::int64_t>;

Dimensions dimensions_of(const Table& api, const TensorInfo* info) {
  std::size_t rank = 0;
  check(api, api.call<GetDimensionsCount>(info, &rank), "SegFreeAttention");
  Dimensions found(rank);
  check(api, api.call<GetDimensions>(info, found.data(), rank), "SegFreeAttention");
  return found;
}

struct Input {
  const void* data;
  Dimensions dimensions;
};

Input input(const Table& api, const KernelContext* context, std::size_t index) {
  const Value* value = nullptr;
  check(api, api.call<GetKernelInput>(context, index, &value), input_names[index]);
  Handle<TensorInfo, ReleaseTensorInfo> info(api);
  check(api, api.call<GetTensorTypeAndShape>(value, info.out()), input_names[index]);
  void* data = nullptr;
  check(api, api.call<GetTensorMutableData>(const_cast<Value*>(value), &data), input_names[index]);
  return {data, dimensions_of(api, info.get())};
}

// The shape of inputs that fit each other; throws BackendError for others.
fgdm_attention_shape shape_of(const std::array<Input, num_inputs>& inputs, fgdm_argmax argmax) {
  const auto refuse = [&](std::size_t index, const std::string& expected) {
    throw BackendError("SegFreeAttention: " + std::string(input_names[index]) + " is " +
                       shown_extents(inputs[index].dimensions) + ", expected " + expected);
  };
  const auto& q = inputs[position_q].dimensions;
  const auto& k = inputs[position_k].dimensions;
  if (q.size() != 4)
    refuse(position_q, "(batch, heads, patches, head size)");
  const auto rows = q[0], heads = q[1], head_size = q[3];
  const auto tokens = k.size() == 4 ? k[2] : 0;
  if (tokens < 1)
    refuse(position_k, "(batch, heads, tokens, head size) of one token or more");
  const Dimensions of_tokens{rows, heads, tokens, head_size};
  const std::array<Dimensions, num_inputs> expected{
      q, of_tokens, of_tokens, {rows}, {rows, tokens}};
  for (std::size_t i = 0; i < num_inputs; ++i)
    if (inputs[i].dimensions != expected[i])
      refuse(i, shown_extents(expected[i]));
  for (const auto size : {rows, heads, q[2], tokens, head_size})
    if (size > (1 << 24))
      throw BackendError("SegFreeAttention: a size is " + std::to_string(size) +
                         ", expected 16777216 at most");
  const auto whole = [](std::int64_t size) { return static_cast<int>(size); };
  return {whole(rows),      whole(heads), whole(q[2]), whole(tokens),
          whole(head_size), FGDM_FLOAT32, argmax};
}

// One call of a node, as the runtime's threads see it.
struct Call {
  const cpu::AttentionKernel& kernel;
  fgdm_attention_shape shape;
  cpu::AttentionArrays arrays;
  std::vector<cpu::AttentionPart> parts;
  std::atomic<bool> lacks_memory = false;

  void run(std::size_t index) noexcept {
    constexpr std::align_val_t cache_line{64};
    const auto bytes = kernel.scratch(shape) * sizeof(float);
    void* const scratch = ::operator new(bytes, cache_line, std::nothrow);
    if (scratch == nullptr) {
      lacks_memory = true;
      return;
    }
    kernel.run(shape, arrays, parts[index], static_cast<float*>(scratch));
    ::operator delete(scratch, cache_line);
  }
};

// One node of a graph.
struct Node {
  Table api;
  int threads;
  fgdm_argmax argmax;

  void compute(KernelContext* context) const {
    std::array<Input, num_inputs> inputs;
    for (std::size_t i = 0; i < num_inputs; ++i)
      inputs[i] = input(api, context, i);
    const auto shape = shape_of(inputs, argmax);
    const auto& dimensions = inputs[position_q].dimensions;
    Value* value = nullptr;
    check(api,
          api.call<GetKernelOutput>(context, std::size_t{0}, dimensions.data(), dimensions.size(),
                                    &value),
          "out");
    void* out = nullptr;
    check(api, api.call<GetTensorMutableData>(value, &out), "out");
    const auto floats = [&](Position position) {
      return static_cast<const float*>(inputs[position].data);
    };
    Call call{cpu::attention_kernels().front(),
              shape,
              {floats(position_q), floats(position_k), floats(position_v), floats(position_scale),
               static_cast<const unsigned char*>(inputs[position_mask].data),
               static_cast<float*>(out)},
              cpu::attention_parts(shape, threads)};
    const auto run = [](void* given, std::size_t index) { static_cast<Call*>(given)->run(index); };
    check(api,
          api.call<ParallelFor>(static_cast<const KernelContext*>(context),
                                static_cast<void (*)(void*, std::size_t)>(run), call.parts.size(),
                                std::size_t{0}, static_cast<void*>(&call)),
          "SegFreeAttention");
    if (call.lacks_memory)
      throw std::bad_alloc();
  }
};

// The attribute argmax of a node; the mean over heads where it has none.
fgdm_argmax argmax_of(const Table& api, const KernelInfo* info) {
  std::size_t size = 0;
  if (Status* absent =
          api.call<GetTextAttribute>(info, "argmax", static_cast<char*>(nullptr), &size)) {
    api.call<ReleaseStatus>(absent);
    return FGDM_ARGMAX_MEAN;
  }
  std::string word(size, '\0');
  check(api, api.call<GetTextAttribute>(info, "argmax", word.data(), &size), "argmax");
  word.resize(word.find_last_not_of('\0') + 1);  // the size may count a terminating zero
  if (word != "mean" && word != "per_head")
    throw BackendError("SegFreeAttention: argmax is \"" + word +
                       "\", expected \"mean\" or \"per_head\"");
  return word == "mean" ? FGDM_ARGMAX_MEAN : FGDM_ARGMAX_PER_HEAD;
}

// Runs `work`; what it throws becomes a status.
template <typename Work> Status* guarded(const Table& api, Work work) noexcept {
  try {
    work();
    return nullptr;
  } catch (const std::bad_alloc&) {
    return api.call<CreateStatus>(code_fail, "Failed to allocate memory for SegFreeAttention");
  } catch (const std::exception& problem) {
    return api.call<CreateStatus>(code_fail, problem.what());
  }
}

// What the runtime knows of the op; one for all sessions.
struct Definition : CustomOp {
  Definition(const Table& functions, int threads_of_a_session)
      : CustomOp{}, api(functions), threads(threads_of_a_session) {
    version = api_version;
    name = [](const CustomOp*) { return "SegFreeAttention"; };
    provider = [](const CustomOp*) -> const char* { return nullptr; };
    input_count = [](const CustomOp*) { return num_inputs; };
    output_count = [](const CustomOp*) { return std::size_t{1}; };
    input_type = [](const CustomOp*, std::size_t index) {
      return index == position_mask ? element_bool : element_float;
    };
    output_type = [](const CustomOp*, std::size_t) { return element_float; };
    const auto needed = [](const CustomOp*, std::size_t) { return required; };
    input_characteristic = needed;
    output_characteristic = needed;
    input_memory_type = [](const CustomOp*, std::size_t) { return memory_type_default; };
    create_kernel = [](const CustomOp* self, const void*, const KernelInfo* info, void** kernel) {
      const auto& definition = *static_cast<const Definition*>(self);
      return guarded(definition.api, [&] {
        const Node node{definition.api, definition.threads, argmax_of(definition.api, info)};
        *kernel = std::make_unique<Node>(node).release();
      });
    };
    compute = [](void* kernel, KernelContext* context) {
      const auto& node = *static_cast<const Node*>(kernel);
      return guarded(node.api, [&] { node.compute(context); });
    };
    destroy = [](void* kernel) { const std::unique_ptr<Node> last(static_cast<Node*>(kernel)); };
    // Without infer_shape: what it can say of a dimension that has no name is -1, which later nodes
    // take for a number.
    first_version = [](const CustomOp*) { return 1; };
    last_version = first_version;
  }

  Table api;
  int threads;
};

}  // namespace

AttentionOp::AttentionOp(const Table& api, int threads)
    : api_(api),
      definition_(std::make_shared<const Definition>(
          api, threads > 0 ? threads : static_cast<int>(std::thread::hardware_concurrency()))),
      domain_(api) {
  check(api_, api_.call<CreateCustomOpDomain>("fgdm", domain_.out()), "SegFreeAttention");
  check(api_, api_.call<AddCustomOp>(domain_.get(), definition_.get()), "SegFreeAttention");
}

void AttentionOp::add_to(SessionOptions* options) const {
  check(api_, api_.call<AddCustomOpDomain>(options, domain_.get()), "adding SegFreeAttention");
}

}  // namespace fgdm::ort
