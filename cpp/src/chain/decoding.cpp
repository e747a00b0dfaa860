#include "decoding.hpp"

#include "fgdm/palette.hpp"

namespace fgdm {

RowBuffer decode(const Manifest& manifest, Graphs& graphs, const std::string& decoder,
                 const FactorSize& size, std::span<const RowBuffer* const> latents,
                 Timings& timings) {
  auto rows = latent_buffer(graphs.device(), manifest, size, latents.size());
  for (std::size_t row = 0; row < latents.size(); ++row)
    rows.copy_row(*latents[row], 0, row);
  RowBuffer pictures(graphs.device(), DType::float32, {3, size.height, size.width}, latents.size());
  const NamedTensor input{"latents", rows.view(latents.size())};
  const NamedTensor output{"image", pictures.view(latents.size())};
  timings.add(decoder, graphs.run(decoder, decoder, {&input, 1}, {&output, 1}));
  return pictures;
}

std::optional<Pixels> rgb_of(const RowBuffer& pictures, std::size_t row, const FactorSize& size) {
  const auto values = pictures.floats(1, row);
  if (!all_finite(values))
    return std::nullopt;
  Pixels picture{size.height, size.width, std::vector<std::uint8_t>(3 * pixels(size))};
  image_to_rgb(values, size.height, size.width, picture.data);
  return picture;
}

}  // namespace fgdm
