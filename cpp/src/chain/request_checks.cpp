#include "request_checks.hpp"

#include <cmath>

#include "device_inputs.hpp"

namespace fgdm {

void check_text(const std::string& name, const std::string& text) {
  if (text.size() > max_prompt_size)
    throw RequestError(name + " has " + shown(text.size()) + " bytes, expected at most " +
                       shown(max_prompt_size) +
                       "; the text encoder reads only its beginning: shorten it");
}

void check_interval(const std::string& name, const Interval& interval) {
  if (!(0.0 <= interval.start && interval.start <= interval.stop && interval.stop <= 1.0))
    throw RequestError(name + " is (" + shown(interval.start) + ", " + shown(interval.stop) +
                       "), expected two fractions of the steps, 0 <= start <= stop <= 1");
}

void check_spacing(const std::string& name, TimestepSpacing spacing, SamplerKind sampler) {
  if (!has_spacing(sampler, spacing))
    throw RequestError(name + " is \"" + std::string(spacing_name(spacing)) +
                       "\", which sampler \"" + std::string(sampler_name(sampler)) +
                       "\" doesn't have: it goes by timesteps; give \"leading\", \"trailing\" or "
                       "\"linspace\", or another sampler");
}

void resolve_cache(std::optional<int>& interval, std::optional<int>& level,
                   const std::string& prefix, const Manifest& manifest, const FactorSpec& factor) {
  check_optional(prefix + "cache_interval", interval, 1, 1000);
  check_optional(prefix + "cache_level", level, 1, 16);
  interval = interval.value_or(factor.cache.interval);
  level = level.value_or(factor.cache.level);
  const auto obstacle = manifest.cache_obstacle(factor, *level);
  if (*interval > 1 && !obstacle.empty())
    throw RequestError(prefix + "cache_interval is " + shown(*interval) + " and cache_level " +
                       shown(*level) + ", but " + obstacle +
                       "; leave them out, or export the bundle again with this version");
}

void check_latents(const std::string& name, const std::vector<float>& latents,
                   const std::vector<std::int64_t>& shape, int rows, const Manifest& manifest,
                   const FactorSize& size) {
  if (latents.empty())
    return;
  const auto expected = latents_shape(manifest, size, rows);
  const auto values = static_cast<std::size_t>(rows) * latent_elements(manifest, size);
  if (latents.size() != values || (!shape.empty() && shape != expected))
    throw RequestError(
        name + " has " +
        (shape.empty() ? shown(latents.size()) + " values, expected " + shown(values) + ", shape "
                       : "shape " + shown_extents(shape) + ", expected ") +
        shown_extents(expected) + ": rows, channels, height, width");
  for (const float value : latents)
    if (!std::isfinite(value))
      throw RequestError(name + " holds a value that is not finite");
}

void check_picture(const std::string& name, const Pixels& picture, const FactorSize& size,
                   std::size_t channels, const std::string& whose) {
  if (picture.height != size.height || picture.width != size.width ||
      picture.data.size() != channels * pixels(size))
    throw RequestError(name + " is " + shown(picture.width) + " x " + shown(picture.height) +
                       " pixels, expected " + whose + " size, " + shown(size.width) + " x " +
                       shown(size.height));
}

}  // namespace fgdm
