#pragma once

#include <set>
#include <string>
#include <vector>

#include "fgdm/manifest.hpp"

namespace fgdm {

// Of shallow backbones, the one that a factor goes through by itself, or all that a request may ask
// for.
enum class Shallow { by_itself, all };

// The graphs that the steps of a factor run, each once: its backbone, shallow ones, and its
// conditioning networks.
std::vector<std::string> graphs_of_steps(const Manifest& manifest, const FactorSpec& factor,
                                         Shallow shallow);

// Which graphs are run in turns, so that they should be in memory together.
class StepGraphs {
public:
  explicit StepGraphs(const Manifest& manifest);

  // Whether a step of some factor runs both.
  bool together(const std::string& graph, const std::string& other) const;

private:
  std::vector<std::set<std::string>> steps_;  // of each factor
};

}  // namespace fgdm
