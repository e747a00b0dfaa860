#include "measuring.hpp"

#include <utility>

#include "fgdm/palette.hpp"
#include "request.hpp"
#include "request_result.hpp"

namespace fgdm {

Measured Measuring::map(std::uint32_t factor, int candidate, int steps,
                        std::vector<std::uint8_t> labels, std::vector<std::uint8_t> rgb) const {
  const auto& spec = bundle_.manifest().factors[factor];
  const auto size = factor_size(request_, bundle_.manifest(), spec);
  Candidate seen{candidate, 1.0, {}, {}, 0.0, {size.height, size.width, std::move(rgb)}, {}, steps};
  if (!spec.makes_labels())
    return {std::move(seen), {1.0, {}, {}, 0.0}, {}};
  const auto& palette = bundle_.palette(spec.palette);
  auto recall = measure(labels, texts_.factors.at(factor).requested,
                        *request_.factors.at(spec.name).min_area);
  seen.recall = recall.recall;
  seen.found = names_of(palette, recall.found);
  seen.missing = names_of(palette, recall.missing);
  seen.smallest_area = recall.smallest_area;
  seen.labels = {size.height, size.width, std::move(labels)};
  return {std::move(seen), std::move(recall), {}};
}

Measured Measuring::failed(std::uint32_t factor, int candidate, int steps) const {
  const auto count =
      pixels(factor_size(request_, bundle_.manifest(), bundle_.manifest().factors[factor]));
  auto empty = map(factor, candidate, steps, std::vector<std::uint8_t>(count, unlabeled),
                   std::vector<std::uint8_t>(3 * count));
  empty.candidate.failed = true;
  return empty;
}

std::vector<std::optional<Measured>>
Measuring::pictures(const RowBuffer& rows, std::span<const Trajectory* const> trajectories,
                    Device& device) const {
  const auto& run = *trajectories.front()->run;
  const auto& size = run.size;
  const auto count = pixels(size);
  const auto maps = trajectories.size();
  const auto* palette = run.factor.makes_labels() ? &bundle_.palette(run.factor.palette) : nullptr;
  LabelMaps made;
  if (palette != nullptr)
    made = device.label(*palette, rows.data(), maps, size.height, size.width);
  const bool all_sound = rows.is_finite(maps);
  std::vector<std::optional<Measured>> found(maps);
  for (std::size_t row = 0; row < maps; ++row) {
    if (!all_sound && !rows.is_finite(1, row))
      continue;
    std::vector<std::uint8_t> labels, rgb(3 * count);
    if (palette != nullptr) {
      const auto part = std::span(made.labels).subspan(row * count, count);
      labels.assign(part.begin(), part.end());
      render_labels(*palette, std::span(made.snapped).subspan(row * count, count), rgb);
    } else {
      image_to_rgb(rows.floats(1, row), size.height, size.width, rgb);
    }
    const auto& trajectory = *trajectories[row];
    found[row] = map(run.index, trajectory.candidate, trajectory.steps_taken(), std::move(labels),
                     std::move(rgb));
  }
  return found;
}

}  // namespace fgdm
