#include "provider_options.hpp"

#include <vector>

#include "ort_handle.hpp"

namespace fgdm::ort {
namespace {

// What OpenVINO computes in, and its own threads. Not told, it takes bfloat16 where the processor
// has it.
std::string openvino_config(bool bfloat16, int threads) {
  std::string config = R"({"CPU": {"INFERENCE_PRECISION_HINT": ")";
  config += bfloat16 ? "bf16" : "f32";
  config += '"';
  if (threads > 0)
    config += R"(, "INFERENCE_NUM_THREADS": ")" + std::to_string(threads) + '"';
  return config + "}}";
}

}  // namespace

KeysAndValues::KeysAndValues(const ProviderOptions& options) {
  for (const auto& [key, value] : options) {
    keys.push_back(key.c_str());
    values.push_back(value.c_str());
  }
}

ProviderOptions provider_options(Provider provider, bool built_in, const OrtLoadOptions& wanted,
                                 int threads) {
  ProviderOptions own;
  switch (provider) {
  case Provider::openvino:
    // The plugin takes any key in silence: `precision`, which the provider that is built in obeys,
    // changes nothing in it.
    if (built_in)
      own = {{"device_type", "CPU"}, {"precision", "ACCURACY"}};
    own["load_config"] = openvino_config(wanted.bfloat16, threads);
    break;
  case Provider::cuda:
    // "fp32" means float32.
    own["use_tf32"] = "0";
    // Batches change their size from step to step: convolutions are chosen by rule, since trying
    // all of them anew for each size takes longer than the step. Memory grows by what is asked for,
    // since sessions share the card.
    if (built_in)
      own.merge(ProviderOptions{{"cudnn_conv_algo_search", "HEURISTIC"},
                                {"arena_extend_strategy", "kSameAsRequested"},
                                {"device_id", std::to_string(wanted.device)}});
    if (wanted.stream != nullptr)
      own["user_compute_stream"] = std::to_string(reinterpret_cast<std::uintptr_t>(wanted.stream));
    break;
  case Provider::tensorrt_rtx:
    if (!wanted.kernels.empty())
      own["nv_runtime_cache_path"] = wanted.kernels.string();
    break;
  case Provider::cpu:
  case Provider::webgpu:
    break;
  }
  return own;
}

void append_openvino(const Table& api, SessionOptions* options, const ProviderOptions& own) {
  const KeysAndValues given(own);
  check(api,
        api.call<AppendOpenVinoProvider>(
            options, static_cast<const char* const*>(given.keys.data()),
            static_cast<const char* const*>(given.values.data()), given.keys.size()),
        "adding the OpenVINO provider");
}

void append_cuda(const Table& api, SessionOptions* options, const ProviderOptions& own) {
  const KeysAndValues given(own);
  void* cuda = nullptr;
  check(api, api.call<CreateCudaProviderOptions>(&cuda), "adding the CUDA provider");
  Status* status = api.call<UpdateCudaProviderOptions>(
      cuda, static_cast<const char* const*>(given.keys.data()),
      static_cast<const char* const*>(given.values.data()), given.keys.size());
  if (status == nullptr)
    status = api.call<AppendCudaProvider>(options, static_cast<const void*>(cuda));
  api.call<ReleaseCudaProviderOptions>(cuda);
  check(api, status, "adding the CUDA provider");
}

}  // namespace fgdm::ort
