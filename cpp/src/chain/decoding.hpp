#pragma once

#include <cstddef>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "factor_run.hpp"
#include "fgdm/pixels.hpp"

namespace fgdm {

// Latents that wait for a decoder. Those of one decoder and size can share a call, whatever request
// they belong to.
struct Decode {
  const FactorRun* run;  // whose latents they are
  int candidate;
  const std::string* decoder;
  const RowBuffer* latents;  // one row
  // Takes a row of decoded pictures. Throws what ends the request.
  std::function<void(const RowBuffer& pictures, std::size_t row)> use;
  int passed_over = 0;  // batches since it could have been in one; the scheduler's
};

// What a decoder makes of latents of `size`: (3, height, width) in -1..1, a row each. The seconds
// that it takes are booked on `timings`.
RowBuffer decode(const Manifest& manifest, Graphs& graphs, const std::string& decoder,
                 const FactorSize& size, std::span<const RowBuffer* const> latents,
                 Timings& timings);

// A row of decoded pictures in RGB; nothing if it isn't finite.
std::optional<Pixels> rgb_of(const RowBuffer& pictures, std::size_t row, const FactorSize& size);

}  // namespace fgdm
