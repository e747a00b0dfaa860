#include "decoding.hpp"

#include <algorithm>

#include "fgdm/error.hpp"
#include "fgdm/palette.hpp"

namespace fgdm {

void Decoding::decode(const std::string& decoder, const FactorSize& size,
                      const std::vector<const RowBuffer*>& latents, Timings& timings,
                      const UsePictures& use) {
  for (std::size_t first = 0; first < latents.size();) {
    const auto count = std::min(static_cast<std::size_t>(most_rows_), latents.size() - first);
    try {
      use(first, count, run(decoder, size, std::span(latents).subspan(first, count), timings));
      first += count;
    } catch (const OutOfMemoryError&) {
      if (count == 1)
        throw;
      most_rows_ = static_cast<int>(count / 2);
    }
  }
}

RowBuffer Decoding::run(const std::string& decoder, const FactorSize& size,
                        std::span<const RowBuffer* const> latents, Timings& timings) {
  const auto& device = graphs_.device();
  auto rows = latent_buffer(device, manifest_, size, latents.size());
  for (std::size_t row = 0; row < latents.size(); ++row)
    rows.copy_row(*latents[row], 0, row);
  RowBuffer pictures(device, DType::float32, {3, size.height, size.width}, latents.size());
  const NamedTensor input{"latents", rows.view(latents.size())};
  const NamedTensor output{"image", pictures.view(latents.size())};
  timings.add(decoder, graphs_.run(decoder, decoder, {&input, 1}, {&output, 1}));
  return pictures;
}

std::vector<std::optional<Pixels>> Decoding::pictures(const std::string& decoder,
                                                      const FactorSize& size,
                                                      const std::vector<const RowBuffer*>& latents,
                                                      Timings& timings) {
  std::vector<std::optional<Pixels>> made(latents.size());
  decode(decoder, size, latents, timings,
         [&](std::size_t first, std::size_t count, const RowBuffer& rows) {
           for (std::size_t row = 0; row < count; ++row) {
             const auto values = rows.floats(1, row);
             if (!all_finite(values))
               continue;
             Pixels picture{size.height, size.width, std::vector<std::uint8_t>(3 * pixels(size))};
             image_to_rgb(values, size.height, size.width, picture.data);
             made[first + row] = std::move(picture);
           }
         });
  return made;
}

}  // namespace fgdm
