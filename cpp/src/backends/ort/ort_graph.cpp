#include "ort_graph.hpp"

#include <array>
#include <filesystem>
#include <mutex>
#include <utility>

#include "external_weights.hpp"
#include "fgdm/error.hpp"
#include "ort_handle.hpp"
#include "wording.hpp"

namespace fgdm {
namespace {

using ort::check;
using ort::environment_mutex;
using ort::ExternalWeight;
using ort::Handle;
using ort::MemoryHandle;
using ort::Table;
using ort::ValueHandle;

constexpr std::array<std::pair<DType, int>, 7> element_types{
    {{DType::float32, ort::element_float},
     {DType::float16, ort::element_float16},
     {DType::bfloat16, ort::element_bfloat16},
     {DType::int64, ort::element_int64},
     {DType::int32, ort::element_int32},
     {DType::uint8, ort::element_uint8},
     {DType::boolean, ort::element_bool}}};

int element_type(DType dtype) {
  return element_types[static_cast<std::size_t>(dtype)].second;
}

DType dtype_of(int element, const std::string& name) {
  for (const auto& [dtype, code] : element_types)
    if (code == element)
      return dtype;
  throw BackendError("graph tensor " + name + " has ONNX element type " + std::to_string(element) +
                     ", which fgdm does not use; export the bundle again");
}

class OrtSession final : public Session {
public:
  OrtSession(std::shared_ptr<OrtRuntime> runtime, const Table& api, const ort::Env* env,
             const OrtGraph& graph, ort::SessionOptions* options, int device)
      : runtime_(std::move(runtime)), api_(api), graph_(graph),
        name_((graph.file.empty() ? std::filesystem::path(graph.name) : graph.file)
                  .filename()
                  .string()),
        device_(device), memory_(ort::cpu_memory(api)), gpu_memory_(api), session_(api) {
    {
      const std::lock_guard lock(environment_mutex());
      if (graph.file.empty())
        load_from_memory(env, options);
      else
        check(api_, api_.call<ort::CreateSession>(env, graph.file.c_str(), options, session_.out()),
              "loading " + graph.file.string());
    }
    inputs_ =
        specs<ort::SessionGetInputCount, ort::SessionGetInputName, ort::SessionGetInputTypeInfo>();
    outputs_ = specs<ort::SessionGetOutputCount, ort::SessionGetOutputName,
                     ort::SessionGetOutputTypeInfo>();
  }

  std::span<const TensorSpec> inputs() const override { return inputs_; }
  std::span<const TensorSpec> outputs() const override { return outputs_; }

  void run(std::span<const NamedTensor> inputs, std::span<const NamedTensor> outputs) override {
    std::vector<ValueHandle> values;
    values.reserve(inputs.size() + outputs.size());
    std::vector<const char*> input_names, output_names;
    std::vector<const ort::Value*> input_values;
    std::vector<ort::Value*> output_values;
    for (const auto& named : inputs) {
      if (!declares(inputs_, named.name))
        continue;  // unused inputs may have been pruned
      input_values.push_back(wrap(named, values));
      input_names.push_back(named.name.data());
    }
    for (const auto& named : outputs) {
      output_values.push_back(wrap(named, values));
      output_names.push_back(named.name.data());
    }
    check(api_,
          api_.call<ort::Run>(session_.get(), static_cast<const ort::RunOptions*>(nullptr),
                              input_names.data(), input_values.data(), input_values.size(),
                              output_names.data(), output_names.size(), output_values.data()),
          "running " + name_);
  }

private:
  // Weights are handed over one by one, as tensors where they lie, and twice: the model gets
  // copies, which the runtime optimises it with and then drops, and the session the tensors
  // themselves.
  void load_from_memory(const ort::Env* env, ort::SessionOptions* options) {
    const auto loading = "loading " + graph_.name;
    std::vector<ExternalWeight> weights;
    try {
      weights = ort::external_weights(graph_.model.data);
    } catch (const BackendError& error) {
      throw BackendError(loading + ": " + error.what());
    }
    std::vector<const ort::Value*> values;
    std::vector<const char*> names;
    weights_.reserve(weights.size());
    for (const auto& weight : weights) {
      const auto bytes = bytes_of(weight);
      auto& handle = weights_.emplace_back(api_);
      // The runtime only reads a weight.
      check(api_,
            api_.call<ort::CreateTensorWithData>(
                memory_.get(), static_cast<void*>(const_cast<std::byte*>(bytes.data())),
                bytes.size(), weight.shape.data(), weight.shape.size(), weight.type, handle.out()),
            loading + ", its weight " + weight.name);
      check(api_,
            api_.call<ort::AddInitializer>(options, weight.name.c_str(),
                                           static_cast<const ort::Value*>(handle.get())),
            loading);
      values.push_back(handle.get());
      names.push_back(weight.name.c_str());
    }
    if (!values.empty())
      check(api_,
            api_.call<ort::AddExternalInitializers>(options, names.data(), values.data(),
                                                    values.size()),
            loading);
    check(api_,
          api_.call<ort::CreateSessionFromArray>(env,
                                                 static_cast<const void*>(graph_.model.data.data()),
                                                 graph_.model.data.size(), options, session_.out()),
          loading);
  }

  std::span<const std::byte> bytes_of(const ExternalWeight& weight) const {
    const auto file = std::filesystem::path(weight.file).lexically_normal().generic_string();
    const auto found = graph_.weights.find(file);
    if (found == graph_.weights.end())
      throw BundleError(graph_.name + " has its weight " + excerpt(weight.name) +
                        " in the file \"" + excerpt(weight.file) +
                        "\", which the manifest doesn't list; export the " + "bundle again");
    const auto whole = found->second.data;
    const auto most = weight.offset > whole.size() ? 0 : whole.size() - weight.offset;
    if (weight.offset > whole.size() || weight.size.value_or(most) > most)
      throw BundleError(graph_.name + " has its weight " + excerpt(weight.name) +
                        " beyond the end of the file \"" + excerpt(weight.file) +
                        "\"; export the bundle again");
    return whole.subspan(static_cast<std::size_t>(weight.offset),
                         static_cast<std::size_t>(weight.size.value_or(most)));
  }

  static bool declares(std::span<const TensorSpec> specs, std::string_view name) {
    for (const auto& spec : specs)
      if (spec.name == name)
        return true;
    return false;
  }

  const ort::MemoryInfo* memory_of(Place place) {
    if (place == Place::host)
      return memory_.get();
    if (gpu_memory_.get() == nullptr)
      check(api_,
            api_.call<ort::CreateMemoryInfo>("Cuda", ort::device_allocator, device_,
                                             ort::memory_type_default, gpu_memory_.out()),
            "describing GPU memory");
    return gpu_memory_.get();
  }

  ort::Value* wrap(const NamedTensor& named, std::vector<ValueHandle>& values) {
    const auto& tensor = named.tensor;
    auto& handle = values.emplace_back(api_);
    check(api_,
          api_.call<ort::CreateTensorWithData>(memory_of(tensor.place), tensor.data, tensor.bytes(),
                                               tensor.shape.data(), tensor.shape.size(),
                                               element_type(tensor.dtype), handle.out()),
          "binding " + std::string(named.name) + " of " + name_);
    return handle.get();
  }

  template <typename Count, typename Name, typename Type> std::vector<TensorSpec> specs() {
    std::size_t count = 0;
    check(api_, api_.call<Count>(session_.get(), &count), name_);
    ort::Allocator* allocator = nullptr;
    check(api_, api_.call<ort::GetDefaultAllocator>(&allocator), name_);
    std::vector<TensorSpec> found(count);
    for (std::size_t i = 0; i < count; ++i) {
      char* text = nullptr;
      check(api_, api_.call<Name>(session_.get(), i, allocator, &text), name_);
      found[i].name = text;
      check(api_, api_.call<ort::AllocatorFree>(allocator, static_cast<void*>(text)), name_);
      Handle<ort::TypeInfo, ort::ReleaseTypeInfo> type(api_);
      check(api_, api_.call<Type>(session_.get(), i, type.out()), name_);
      const ort::TensorInfo* info = nullptr;  // owned by `type`
      check(api_, api_.call<ort::CastTypeInfoToTensorInfo>(type.get(), &info), name_);
      int element = 0;
      check(api_, api_.call<ort::GetTensorElementType>(info, &element), name_);
      found[i].dtype = dtype_of(element, found[i].name);
      std::size_t rank = 0;
      check(api_, api_.call<ort::GetDimensionsCount>(info, &rank), name_);
      found[i].shape.resize(rank);
      check(api_, api_.call<ort::GetDimensions>(info, found[i].shape.data(), rank), name_);
    }
    return found;
  }

  std::shared_ptr<OrtRuntime> runtime_;  // keeps the library's environment alive
  Table api_;
  OrtGraph graph_;  // whose bytes the session goes on using
  std::string name_;
  int device_;  // the GPU whose memory Place::device means
  MemoryHandle memory_, gpu_memory_;
  std::vector<ValueHandle> weights_;  // of a model in memory
  Handle<ort::Session, ort::ReleaseSession> session_;
  std::vector<TensorSpec> inputs_, outputs_;
};

}  // namespace

std::unique_ptr<Session> ort::load_graph(std::shared_ptr<OrtRuntime> runtime, const Table& api,
                                         const Env* env, const OrtGraph& graph,
                                         SessionOptions* options, int device) {
  return std::make_unique<OrtSession>(std::move(runtime), api, env, graph, options, device);
}

}  // namespace fgdm
