#pragma once

#include <string>
#include <vector>

#include "fgdm/manifest.hpp"

namespace fgdm {

enum class Optional { load, leave };

// The graphs that a request may run which asks for nothing in particular. The autoencoder's encoder
// is left for those that bring a map or a picture, the networks of optional factors and the shallow
// backbones that no factor uses by itself for those that ask for them.
std::vector<std::string> graph_names(const Manifest& manifest, Optional optional);

// The others.
std::vector<std::string> later_names(const Manifest& manifest,
                                     const std::vector<std::string>& first);

// All that requests may run.
std::vector<std::string> all_names(const Manifest& manifest);

}  // namespace fgdm
