#pragma once

#include "fgdm/manifest.hpp"

namespace fgdm {

// Checks that every graph of a manifest has the inputs and outputs of its role in the chain: names,
// ranks and types, and residuals that the backbone takes. Throws BundleError that names the graph,
// what it has and what its role needs.
void check_roles(const Manifest& manifest);

// Likewise of the graph that reads a map from a picture, which has one input and one output of any
// names. The core never runs it.
void check_segmenter(const Manifest& manifest, const std::string& graph);

// Checks the inputs and outputs that a runtime found in a graph's file against the manifest's. The
// file may lack inputs, since exporters drop what isn't used. Throws BundleError.
void check_loaded(const std::string& graph, const GraphSpec& described,
                  std::span<const TensorSpec> inputs, std::span<const TensorSpec> outputs);

}  // namespace fgdm
