#pragma once

#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "factor_run.hpp"
#include "fgdm/pixels.hpp"

namespace fgdm {

// Decodes latents to pictures, a few rows at a time where there is no memory for more.
class Decoding {
public:
  // `most_rows` is the most rows of one call.
  Decoding(const Manifest& manifest, Graphs& graphs, int most_rows)
      : manifest_(manifest), graphs_(graphs), most_rows_(most_rows) {}

  // Rows of decoded pictures, (3, height, width) in -1..1: the first one's place among all, their
  // number, and where they are. What the calls take is booked on `timings`.
  using UsePictures = std::function<void(std::size_t, std::size_t, const RowBuffer&)>;
  void decode(const std::string& decoder, const FactorSize& size,
              const std::vector<const RowBuffer*>& latents, Timings& timings,
              const UsePictures& use);

  // Pictures in RGB; nothing in place of one that isn't finite.
  std::vector<std::optional<Pixels>> pictures(const std::string& decoder, const FactorSize& size,
                                              const std::vector<const RowBuffer*>& latents,
                                              Timings& timings);
  std::optional<Pixels> picture(const std::string& decoder, const FactorSize& size,
                                const RowBuffer& latents, Timings& timings) {
    return std::move(pictures(decoder, size, {&latents}, timings).front());
  }

private:
  RowBuffer run(const std::string& decoder, const FactorSize& size,
                std::span<const RowBuffer* const> latents, Timings& timings);

  const Manifest& manifest_;
  Graphs& graphs_;
  int most_rows_;
};

}  // namespace fgdm
