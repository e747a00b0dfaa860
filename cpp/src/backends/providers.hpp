#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "fgdm/error.hpp"
#include "fgdm/options.hpp"
#include "fgdm/ort_session.hpp"

namespace fgdm {

// Throws RequestError for an unknown backend, and for threads or a device that no machine, or not
// the backend, has.
void check_machine(const EngineOptions& options);

// Whether EngineOptions::device says where a provider computes.
bool uses_gpu(Provider provider);

// Plugins that a backend may need: "cpu" none, others those that are given or named.
std::vector<std::filesystem::path> plugins_for(const EngineOptions& options);

// The providers to try, the best first. Throws BackendError where the backend has none here,
// RequestError for an unknown one.
std::vector<Provider> providers_for(const std::string& backend, const OrtRuntime& runtime);

// Whether EngineOptions::precision means bfloat16; `made` is the type of the bundle's graphs.
// Throws BackendError or RequestError for what can't be had.
bool wants_bfloat16(const std::string& precision, const std::string& made, Provider provider);

// Whether another backend may do better: a GPU may lack a library, or its memory may be taken.
bool is_of_the_backend(const Error& error);

// Whether a provider compiles graphs into contexts that can be kept. OpenVINO's own inside
// onnxruntime-openvino (1.24.1, its last) writes what it can't read.
bool makes_contexts(Provider provider, const OrtRuntime& runtime);

}  // namespace fgdm
