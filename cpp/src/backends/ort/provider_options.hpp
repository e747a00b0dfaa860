#pragma once

#include <map>
#include <string>
#include <vector>

#include "fgdm/ort_session.hpp"
#include "ort_api.hpp"

namespace fgdm::ort {

using ProviderOptions = std::map<std::string, std::string>;

// Those of options that live on, as ONNX Runtime takes them.
struct KeysAndValues {
  explicit KeysAndValues(const ProviderOptions& options);
  std::vector<const char*> keys, values;
};

// What a provider is told, by its own names of options: which arithmetic "fp32" and bfloat16 mean,
// so many threads, where it may keep kernels. `built_in`: by the provider that ONNX Runtime was
// built with, or by its plugin.
ProviderOptions provider_options(Provider provider, bool built_in, const OrtLoadOptions& wanted,
                                 int threads);

// Adds a provider that ONNX Runtime was built with to a session's options.
void append_openvino(const Table& api, SessionOptions* options, const ProviderOptions& own);
void append_cuda(const Table& api, SessionOptions* options, const ProviderOptions& own);

}  // namespace fgdm::ort
