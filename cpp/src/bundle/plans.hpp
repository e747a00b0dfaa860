#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "fgdm/manifest.hpp"
#include "fgdm/tensor.hpp"
#include "file_tree.hpp"

namespace fgdm {

// An optimization profile of a plan: rows, and the size of the picture in pixels, 0 for a graph
// that has none.
struct PlanProfile {
  int height, width, rows;
};

// An input or output of a plan, with its shape at every profile.
struct PlanTensor {
  std::string name;
  std::vector<std::vector<std::int64_t>> shapes;
};

// A compiled graph of a bundle as its metadata, plans/<target>/<key>.json, describes it.
struct Plan {
  std::filesystem::path file;  // the .plan, in its bundle
  std::string graph;
  std::string runtime;            // version of the target's runtime, such as "10.13.2.6"
  std::vector<std::string> gpus;  // architectures, such as "sm_89"
  std::string precision;          // "fp32" or "fp16"
  bool uses_plugin;               // for SegFreeAttention, in place of its function body
  std::vector<PlanProfile> profiles;
  std::vector<PlanTensor> inputs, outputs;
  std::uint64_t size;
  std::string sha256;

  // Reads metadata: its text, and the name in its bundle that it was read from. Throws BundleError
  // if it isn't what `fgdm build` writes, or if its key doesn't agree with what it covers.
  static Plan parse(const std::string& json, const std::filesystem::path& path,
                    const std::map<std::string, FileSpec>& files);
};

// A machine, as far as plans depend on it.
struct PlanHost {
  std::string architecture;  // of its GPU
  std::string runtime;       // version of the installed runtime
};

// The plans of a bundle for one target that are complete and belong to its graphs. Why others don't
// is added to `problems`, one sentence each. Reads no .plan file.
std::vector<Plan> find_plans(const FileTree& files, const Manifest& manifest,
                             const std::string& target, std::vector<std::string>& problems);

// What keeps a plan from running on a machine; empty if it fits. A plan needs its own architecture
// and its own version of the runtime, as far as both are told.
std::string obstacle(const Plan& plan, const PlanHost& host);

// The graphs that a bundle's chain runs, at their factors' own sizes, for which no plan has a
// profile; each as words, such as "backbone at 256x256". Empty if requests at the bundle's own
// sizes can run.
std::vector<std::string> uncovered(const Manifest& manifest, std::span<const Plan> plans);

// A plan's profile to run some rows with.
struct PlanChoice {
  const Plan* plan;
  std::size_t profile;
};

// The profile with the fewest rows that holds all `rows` of a graph, or, where none does, the one
// with the most. A profile fits if all inputs, and those outputs that are asked for, have its
// shapes but for their first dimension, the row. Of equals, one with the plugin comes first.
// Nothing if none fits.
std::optional<PlanChoice> choose_profile(std::span<const Plan> plans, const std::string& graph,
                                         std::span<const NamedTensor> inputs,
                                         std::span<const NamedTensor> outputs, std::size_t rows);

}  // namespace fgdm
