#pragma once

#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "fgdm/bundle.hpp"
#include "fgdm/engine.hpp"
#include "graphs.hpp"

namespace fgdm {

// The measured batch times in a profile.json under `key`, which says what they were measured with;
// none if the file isn't there or has no such key. Throws BundleError for a file that is not a
// profile.
std::vector<BatchTimes> read_profile(const std::filesystem::path& file, const std::string& key);

// Seconds of one step with each number of rows, at the default size of each factor: conditioning
// networks, backbone, guidance, sampler. The median of `repeats` after a first that doesn't count.
std::vector<BatchTimes> measure_batches(const Bundle& bundle, Graphs& graphs,
                                        std::span<const int> rows, int repeats);

}  // namespace fgdm
