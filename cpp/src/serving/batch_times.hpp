#pragma once

#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "fgdm/bundle.hpp"
#include "fgdm/engine.hpp"
#include "file_tree.hpp"
#include "graphs.hpp"

namespace fgdm {

// The measured batch times in a profile.json under `key`, which says what they were measured with;
// none if the file isn't there or has no such key. Throws BundleError for any other
// file.
std::vector<BatchTimes> read_batch_times(const FileTree& files, const std::string& name,
                                         const std::string& key);

// As Engine::measure_batches. A step: conditioning networks, backbone, guidance, sampler. `check`
// is called before each and may throw to end it.
std::vector<BatchTimes> measure_batches(
    const Bundle& bundle, Graphs& graphs, std::span<const int> rows, int repeats,
    std::optional<int> height, std::optional<int> width,
    const std::function<void()>& check = [] {});

}  // namespace fgdm
