#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "factor_run.hpp"
#include "fgdm/bundle.hpp"

namespace fgdm {

// The map that a request goes on with, of a factor that is done.
struct ChosenMap {
  const FactorSpec* factor;
  FactorSize size;
  std::vector<std::uint8_t> labels;  // of a factor that makes labels: snapped, every pixel has one
  std::vector<std::uint8_t> rgb;
  std::optional<RowBuffer> latents;  // as sampled, else as encoded when somebody needs them
};

// The maps that a request's later factors are painted from.
class ChosenMaps {
public:
  ChosenMaps(const Bundle& bundle, Graphs& graphs)
      : bundle_(bundle), manifest_(bundle.manifest()), graphs_(graphs) {}

  void keep(ChosenMap map) { maps_.insert_or_assign(map.factor->name, std::move(map)); }
  bool has(const std::string& factor) const { return maps_.contains(factor); }

  // Its latents: valid as long as this.
  const RowBuffer& latents(const std::string& factor, Timings& timings);

  // What a conditioning network of a factor of `size` sees of the map that it names: RGB planes
  // (3, height, width) in 0..1, in the colours that the network was trained on.
  std::vector<float> control_image(const ConditioningSpec& network, const FactorSize& size) const {
    return control_image(maps_.at(network.condition), network, size);
  }
  // The same of a map that isn't chosen.
  std::vector<float> control_image(const ChosenMap& map, const ConditioningSpec& network,
                                   const FactorSize& size) const;

  // The classes of the last map that has some, as a picture of `size`. Throws RequestError where
  // none has.
  std::vector<std::uint8_t> last_labels(const FactorSize& size) const;

private:
  std::vector<float> recoloured(const ChosenMap& map, const ConditioningSpec& network,
                                const FactorSize& size) const;

  const Bundle& bundle_;
  const Manifest& manifest_;
  Graphs& graphs_;
  std::map<std::string, ChosenMap> maps_;
};

// The autoencoder's latents of an RGB picture of `size`: one row. On the device, the picture is a
// row (3, height, width) in -1..1.
RowBuffer encode_picture(const Manifest& manifest, const FactorSize& size,
                         std::span<const std::uint8_t> rgb, Graphs& graphs, Timings& timings);
RowBuffer encode_picture(const Manifest& manifest, const FactorSize& size, const RowBuffer& picture,
                         Graphs& graphs, Timings& timings);

// Interleaved bytes as planes (3, height, width) of numbers in 0..1.
std::vector<float> planes_of(std::span<const std::uint8_t> rgb);

}  // namespace fgdm
