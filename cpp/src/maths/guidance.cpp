#include "fgdm/guidance.hpp"

#include <cmath>
#include <cstddef>
#include <string>

#include "fgdm/error.hpp"

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
