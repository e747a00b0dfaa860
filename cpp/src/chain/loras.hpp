#pragma once

#include <cstddef>
#include <cstdint>
#include <list>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "fgdm/bundle.hpp"
#include "fgdm/request.hpp"
#include "graphs.hpp"
#include "lora_file.hpp"
#include "row_buffer.hpp"

namespace fgdm {

// The weight of each of the bundle's LoRAs, in the manifest's order; empty where it has none.
using LoraScales = std::vector<float>;

// Those of a factor in a resolved request; 0 for LoRAs that don't change it.
LoraScales factor_loras(const Request& resolved, const Manifest& manifest,
                        const FactorSpec& factor);

// The LoRAs of a bundle, as its graphs take them. A batch has those of all its rows, side by
// side along their ranks, and each row weighs them: another's by 0, so that rows of whatever
// LoRAs, and of none, share a batch. Keeps what it has put together, where the graphs compute.
class Loras {
public:
  // Throws BundleError for a damaged file.
  Loras(const Bundle& bundle, Graphs& graphs);

  // Adds what the graph takes of LoRAs for rows with such scales to its inputs, which are valid
  // until the next call; nothing for a graph that takes none. Throws BundleError for a file that
  // has gone.
  void add_inputs(const std::string& graph, std::span<const LoraScales* const> rows,
                  std::vector<NamedTensor>& inputs);

  // Gives back what is put together: nobody's inputs are valid any more.
  void trim() { packs_.clear(); }

  // The scales of LoRAs that change what the graph makes, for keys; empty where none does.
  LoraScales that_count(const std::string& graph, const LoraScales& scales) const;

private:
  // LoRAs by their places in the manifest, together.
  struct Pack {
    std::vector<std::size_t> members;
    std::int64_t rank;
    RowBuffer down, up, scale;
    std::size_t rows;  // that `scale` has room for
  };

  Pack& pack(const std::string& graph, const std::vector<std::size_t>& members);
  Pack put_together(const std::string& graph, const std::vector<std::size_t>& members) const;

  const Manifest& manifest_;
  Graphs& graphs_;
  std::vector<LoraFile> files_;
  std::map<std::string, std::list<Pack>> packs_;  // by role, the most recently used first
};

}  // namespace fgdm
