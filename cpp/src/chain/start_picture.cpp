#include "start_picture.hpp"

namespace fgdm {

std::vector<float> noised(std::span<const float> clean, std::span<const float> noise,
                          const NoiseLevel& level) {
  std::vector<float> latents(clean.size());
  for (std::size_t i = 0; i < latents.size(); ++i)
    latents[i] =
        static_cast<float>(level.alpha) * clean[i] + static_cast<float>(level.sigma) * noise[i];
  return latents;
}

std::vector<std::uint8_t> cells_of(const Pixels& mask, const FactorSize& size) {
  const auto columns = static_cast<std::size_t>(size.latent_width);
  std::vector<std::uint8_t> cells(static_cast<std::size_t>(size.latent_height) * columns);
  for (std::size_t pixel = 0; pixel < mask.data.size(); ++pixel) {
    const auto width = static_cast<std::size_t>(size.width);
    const auto row = pixel / width * static_cast<std::size_t>(size.latent_height) /
                     static_cast<std::size_t>(size.height);
    const auto column = pixel % width * columns / width;
    if (mask.data[pixel] != 0)
      cells[row * columns + column] = 1;
  }
  return cells;
}

void keep_pixels(Trajectory& trajectory) {
  const auto& start = *trajectory.run->start;
  const auto kept =
      noised(start.latents, start.noise, trajectory.run->sampler.level(trajectory.step));
  auto latents = trajectory.latents.floats(1);
  for (std::size_t i = 0; i < latents.size(); ++i)
    if (start.anew[i % start.anew.size()] == 0)
      latents[i] = kept[i];
  trajectory.latents.write(latents);
}

}  // namespace fgdm
