#include "fgdm/guidance.hpp"

#include <cmath>
#include <cstddef>
#include <string>

#include "fgdm/error.hpp"
#include "quantile.hpp"

namespace fgdm {

void combine(std::span<const float> negative, std::span<const float> positive, float guidance_scale,
             std::span<float> out) {
  if (negative.size() != out.size() || positive.size() != out.size())
    throw RequestError("guidance: sizes of negative, positive and out are " +
                       std::to_string(negative.size()) + ", " + std::to_string(positive.size()) +
                       " and " + std::to_string(out.size()) + ", expected the same for all");
  for (std::size_t i = 0; i < out.size(); ++i)
    out[i] = negative[i] + guidance_scale * (positive[i] - negative[i]);
}

void guide(std::span<const float> base, std::span<const GuidanceTerm> terms, std::span<float> out) {
  const auto size = out.size();
  for (const auto& term : terms)
    if (term.row.size() != size ||
        (!term.cells.empty() && (term.cells.size() > size || size % term.cells.size() != 0)))
      throw RequestError("guidance: a term has " + std::to_string(term.row.size()) +
                         " numbers and " + std::to_string(term.cells.size()) + " cells, expected " +
                         std::to_string(size) + " numbers, and cells that divide them or none");
  if (base.size() != size)
    throw RequestError("guidance: sizes of base and out are " + std::to_string(base.size()) +
                       " and " + std::to_string(size) + ", expected the same for both");
  for (std::size_t i = 0; i < size; ++i) {
    const float start = base[i];
    float sum = start;
    for (const auto& term : terms)
      if (term.cells.empty() || term.cells[i % term.cells.size()] != 0)
        sum += term.weight * (term.row[i] - start);
    out[i] = sum;
  }
}

std::vector<std::uint8_t> strongest_cells(std::span<const float> base, std::span<const float> row,
                                          int channels, double threshold,
                                          std::span<const std::uint8_t> within) {
  const auto count = channels < 1 ? 0 : row.size() / static_cast<std::size_t>(channels);
  if (base.size() != row.size() || count == 0 ||
      count * static_cast<std::size_t>(channels) != row.size() ||
      (!within.empty() && within.size() != count))
    throw RequestError("guidance: sizes of base, row and cells are " + std::to_string(base.size()) +
                       ", " + std::to_string(row.size()) + " and " + std::to_string(within.size()) +
                       " with " + std::to_string(channels) +
                       " channels; expected equal rows of whole channels, and a cell for each "
                       "place of a channel or none");
  std::vector<float> strength(count, 0.0F);
  for (std::size_t i = 0; i < row.size(); ++i)
    if (within.empty() || within[i % count] != 0)
      strength[i % count] += std::abs(row[i] - base[i]);
  return at_least_quantile(strength, threshold);
}

GuidancePhase phase_at(int step, int num_steps, const GuidanceConfig& config) {
  if (step < 0 || step >= num_steps)
    throw RequestError("guidance: step " + std::to_string(step) + " of " +
                       std::to_string(num_steps) + "; steps count from 0");
  if (!(config.segfree_start >= 0.0 && config.segfree_start <= 1.0))
    throw RequestError("segfree_start is " + std::to_string(config.segfree_start) +
                       ", expected a fraction of the steps from 0 to 1");
  const double place = static_cast<double>(step) / num_steps;
  if (place < config.interval.start || place >= config.interval.stop)
    return {false, 1.0F, 1.0F};
  const double first_segfree = std::floor(config.segfree_start * num_steps + 0.5);
  const bool segfree = config.kind == GuidanceKind::segfree && step >= first_segfree;
  const float scale = segfree ? config.segfree_guidance_scale : config.guidance_scale;
  if (!(scale > 1.0F))
    return {false, 1.0F, 1.0F};
  return {segfree, scale, segfree ? -config.segfree_scale : 1.0F};
}

}  // namespace fgdm
