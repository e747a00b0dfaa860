#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "factor_run.hpp"
#include "fgdm/bundle.hpp"
#include "fgdm/recall.hpp"
#include "fgdm/result.hpp"
#include "texts.hpp"

namespace fgdm {

// A candidate that was looked at, what its map holds, and, once it is finished, its latents: a row
// for each factor of the group.
struct Measured {
  Candidate candidate;
  MapRecall recall;
  std::vector<RowBuffer> latents;
};

// Says what maps of a request hold of what the request asks for.
class Measuring {
public:
  Measuring(const Bundle& bundle, const Request& resolved, const RequestTexts& texts)
      : bundle_(bundle), request_(resolved), texts_(texts) {}

  // A candidate's map after so many steps, of the factor at this place of the chain. Without
  // labels, of a factor that makes pictures, it holds all. `snapped`: the labels that would be
  // painted, which filters look at.
  Measured map(std::uint32_t factor, int candidate, int steps, std::vector<std::uint8_t> labels,
               const std::vector<std::uint8_t>& snapped, std::vector<std::uint8_t> rgb) const;

  // Throws RequestError if that map must not be painted.
  static void check_allowed(const FactorSpec& factor, const Candidate& map);

  // That of a candidate which failed: it holds nothing.
  Measured failed(std::uint32_t factor, int candidate, int steps) const;

  // The map that a row of decoded pictures shows, of this trajectory; nothing if it isn't finite.
  std::optional<Measured> picture(const RowBuffer& pictures, std::size_t row,
                                  const Trajectory& trajectory, Device& device) const;

private:
  const Bundle& bundle_;
  const Request& request_;
  const RequestTexts& texts_;
};

}  // namespace fgdm
