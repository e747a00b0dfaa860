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

std::optional<Measured> Measuring::picture(const RowBuffer& pictures, std::size_t row,
                                           const Trajectory& trajectory, Device& device) const {
  if (!pictures.is_finite(1, row))
    return std::nullopt;
  const auto& run = *trajectory.run;
  const auto& size = run.size;
  std::vector<std::uint8_t> labels, rgb(3 * pixels(size));
  if (run.factor.makes_labels()) {
    const auto& palette = bundle_.palette(run.factor.palette);
    auto made = device.label(palette, pictures.data(row), 1, size.height, size.width);
    render_labels(palette, made.snapped, rgb);
    labels = std::move(made.labels);
  } else {
    image_to_rgb(pictures.floats(1, row), size.height, size.width, rgb);
  }
  return map(run.index, trajectory.candidate, trajectory.steps_taken(), std::move(labels),
             std::move(rgb));
}

}  // namespace fgdm
