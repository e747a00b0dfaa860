#include "measuring.hpp"

#include <utility>

#include "editing.hpp"
#include "fgdm/compliance.hpp"
#include "fgdm/error.hpp"
#include "fgdm/palette.hpp"
#include "read_map.hpp"
#include "request.hpp"
#include "request_result.hpp"

namespace fgdm {

Measured Measuring::map(std::uint32_t factor, int candidate, int steps,
                        std::vector<std::uint8_t> labels, const std::vector<std::uint8_t>& snapped,
                        std::vector<std::uint8_t> rgb) const {
  const auto& spec = bundle_.manifest().factors[factor];
  const auto size = factor_size(request_, bundle_.manifest(), spec);
  Candidate seen{candidate, 1.0, {}, {}, 0.0, {size.height, size.width, std::move(rgb)}, {}, steps};
  if (!spec.makes_labels())
    return {std::move(seen), {1.0, {}, {}, 0.0}, {}};
  const auto& palette = bundle_.palette(spec.palette);
  const auto& texts = texts_.factors.at(factor);
  const double min_area = *request_.factors.at(spec.name).min_area;
  auto recall = measure(labels, texts.requested, min_area);
  auto compliance = check_map(palette, labels, size.height, size.width, texts.required,
                              {min_area, request_.instance_opening});
  seen.met = std::move(compliance.met);
  seen.compliance = compliance.compliance;
  seen.refused = refusal(palette, snapped, texts.filters);
  if (request_.select == SelectBy::compliance)
    recall.compliance = seen.compliance;
  recall.refused = !seen.refused.empty();
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
  const std::vector<std::uint8_t> nothing(count, unlabeled);
  auto empty =
      map(factor, candidate, steps, nothing, nothing, std::vector<std::uint8_t>(3 * count));
  empty.candidate.failed = true;
  return empty;
}

std::optional<Measured> Measuring::picture(const RowBuffer& pictures, std::size_t row,
                                           const Trajectory& trajectory, Device& device) const {
  if (!pictures.is_finite(1, row))
    return std::nullopt;
  const auto& run = *trajectory.run;
  const auto& size = run.size;
  std::vector<std::uint8_t> labels, snapped, rgb(3 * pixels(size));
  if (run.factor.makes_labels()) {
    const auto& palette = bundle_.palette(run.factor.palette);
    auto made = device.label(palette, pictures.data(row), 1, size.height, size.width);
    labels = std::move(made.labels);
    snapped = std::move(made.snapped);
    if (run.keeps_unedited()) {
      const auto original = read_map(bundle_, run.factor, run.editing->inversion->picture);
      const auto touched = touched_pixels(trajectory);
      put_back(touched, original.labels, labels);
      put_back(touched, original.snapped, snapped);
    }
    render_labels(palette, snapped, rgb);
  } else {
    image_to_rgb(pictures.floats(1, row), size.height, size.width, rgb);
    if (run.keeps_unedited())
      put_back(touched_pixels(trajectory), run.editing->inversion->picture.data, rgb);
  }
  return map(run.index, trajectory.candidate, trajectory.steps_taken(), std::move(labels), snapped,
             std::move(rgb));
}

void Measuring::check_allowed(const FactorSpec& factor, const Candidate& map) {
  if (!map.refused.empty())
    throw RequestError("the map of factor " + factor.name + " holds " + map.refused +
                       ", which must not be painted; no image was painted: give another map");
}

}  // namespace fgdm
