#include "chosen_maps.hpp"

#include "fgdm/error.hpp"
#include "fgdm/palette.hpp"
#include "resize.hpp"

namespace fgdm {

std::vector<float> planes_of(std::span<const std::uint8_t> rgb) {
  const auto count = rgb.size() / 3;
  std::vector<float> planes(rgb.size());
  for (std::size_t pixel = 0; pixel < count; ++pixel)
    for (std::size_t channel = 0; channel < 3; ++channel)
      planes[channel * count + pixel] = static_cast<float>(rgb[3 * pixel + channel]) / 255.0F;
  return planes;
}

RowBuffer encode_picture(const Manifest& manifest, const FactorSize& size,
                         std::span<const std::uint8_t> rgb, Graphs& graphs, Timings& timings) {
  auto planes = planes_of(rgb);
  for (auto& value : planes)
    value = 2.0F * value - 1.0F;
  return encode_picture(manifest, size, picture_row(graphs.device(), size, planes), graphs,
                        timings);
}

RowBuffer encode_picture(const Manifest& manifest, const FactorSize& size, const RowBuffer& picture,
                         Graphs& graphs, Timings& timings) {
  auto latents = latent_buffer(graphs.device(), manifest, size, 1);
  const NamedTensor input{"image", picture.view(1)};
  const NamedTensor output{"latents", latents.view(1)};
  const auto& encoder = manifest.vae_encoder;
  timings.add(encoder, graphs.run(encoder, encoder, {&input, 1}, {&output, 1}));
  return latents;
}

const RowBuffer& ChosenMaps::latents(const std::string& factor, Timings& timings) {
  auto& map = maps_.at(factor);
  if (!map.latents)
    map.latents = encode_picture(manifest_, map.size, map.rgb, graphs_, timings);
  return *map.latents;
}

std::vector<float> ChosenMaps::control_image(const ChosenMap& map, const ConditioningSpec& network,
                                             const FactorSize& size) const {
  if (map.factor->makes_labels())
    return recoloured(map, network, size);
  std::vector<float> planes(3 * pixels(size));
  resize_bilinear(planes_of(map.rgb), map.size.height, map.size.width, planes, size.height,
                  size.width);
  return planes;
}

std::vector<std::uint8_t> ChosenMaps::last_labels(const FactorSize& size) const {
  const ChosenMap* last = nullptr;
  for (const auto& factor : manifest_.factors)
    if (factor.makes_labels() && has(factor.name))
      last = &maps_.at(factor.name);
  if (last == nullptr)
    throw RequestError("this request has no map with classes that says where a region is; give a "
                       "mask");
  std::vector<std::uint8_t> labels(pixels(size));
  resize_nearest(last->labels, last->size.height, last->size.width, labels, size.height,
                 size.width);
  return labels;
}

std::vector<float> ChosenMaps::recoloured(const ChosenMap& map, const ConditioningSpec& network,
                                          const FactorSize& size) const {
  std::vector<std::uint8_t> labels(pixels(size)), rgb(3 * pixels(size));
  resize_nearest(map.labels, map.size.height, map.size.width, labels, size.height, size.width);
  const auto* palette = &bundle_.palette(map.factor->palette);
  if (!network.hint_palette.empty()) {
    const auto& trained = bundle_.palette(network.hint_palette);
    const auto table = match_classes(*palette, trained, network.recolor);
    for (auto& label : labels)
      if (label != unlabeled)
        label = static_cast<std::uint8_t>(table[label]);
    palette = &trained;
  }
  render_labels(*palette, labels, rgb);
  return planes_of(rgb);
}

}  // namespace fgdm
