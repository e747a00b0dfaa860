#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "fgdm/api.h"

namespace fgdm {

// Where and how an engine runs its graphs.
struct FGDM_API EngineOptions {
  // "auto", "cpu", "openvino", "cuda", "tensorrt", "tensorrt-rtx" or "webgpu". "auto" takes none of
  // the last two.
  std::string backend = "auto";
  // "auto"; "fp32" or "fp16", as the bundle's graphs or plans are; or "bf16" (openvino on a
  // processor that has it, float32 graphs).
  std::string precision = "auto";
  int threads = 0;  // of the runtime, at most eight a processor; 0: its own choice
  // libonnxruntime and libnvinfer; empty: what FGDM_ONNXRUNTIME and FGDM_TENSORRT name, or the
  // system's.
  std::filesystem::path library, tensorrt_library;
  // Libraries of execution providers that ONNX Runtime (1.23 or later) loads at run time; empty:
  // those that FGDM_ONNXRUNTIME_PLUGINS names, with a colon in between. Backend "cpu" loads none.
  std::vector<std::filesystem::path> plugins;
  int device = 0;           // which GPU, as its runtime counts them; 0 is the first
  int max_batch_rows = 32;  // rows of one backbone call, 2 or more
  int max_queue = 256;      // requests that may wait; one more is refused (QueueFullError)
  int max_active = 16;      // requests worked on at the same time
  // "latency": pictures before maps, older requests before newer. "throughput": whatever fills a
  // batch best. Neither lets anything wait for ever.
  std::string policy = "latency";
  std::filesystem::path profile;  // of measured batch times; empty: the bundle's, if it has one
  std::filesystem::path trace;    // written on destruction, for Perfetto; empty: none
  // Filters as in Request::forbid, for every request, whatever it says; areas are of the bundle's
  // min_area where a filter has none.
  std::string forbid;
  // "full": every graph stays loaded, with weights unpacked for speed. "low" (backend "cpu", ONNX
  // Runtime 1.27 or later): only the graphs of one factor's steps are loaded at a time, and large
  // float16 weights stay in their files, unpacked each time they are used. Pictures are the same up
  // to rounding.
  std::string memory = "full";
  // What runs the op fgdm::SegFreeAttention. "standard": the standard ops of the graphs' own
  // function. "kernel": fgdm's, on backend "cpu" for float32 graphs, on "cuda" where
  // libfgdm_ort_ops.so lies beside the core. "auto": on "cuda" the kernel if it is there, with
  // "tensorrt" what the plans were built with, elsewhere standard ops. Pictures are the same up to
  // rounding.
  std::string attention = "auto";
  // Where compiled contexts are kept, with which backends "openvino" and "tensorrt-rtx" open a
  // bundle without compiling its graphs again: a folder, "bundle" (its folder contexts), or "off".
  // "auto": in the bundle for "tensorrt-rtx", else nowhere.
  std::filesystem::path contexts = "auto";
  // The caller's cudaStream_t, on which backends "cuda" (as built into ONNX Runtime) and "tensorrt"
  // queue their work, of the GPU `device`; nullptr: a stream of the engine's own. It must outlive
  // the engine. Plans aren't recorded as CUDA graphs there: others' work would be recorded with
  // them.
  void* stream = nullptr;
};

}  // namespace fgdm
