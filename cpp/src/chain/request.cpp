#include "request.hpp"

#include <cmath>
#include <cstdint>
#include <numeric>
#include <random>
#include <set>

#include "fgdm/error.hpp"
#include "wording.hpp"

namespace fgdm {
namespace {

template <typename T> void require_between(const char* name, T value, T least, T most) {
  if (!(value >= least && value <= most))  // also false for NaN
    throw RequestError(std::string(name) + " is " + shown(value) + ", expected " + shown(least) +
                       " to " + shown(most));
}

template <typename T>
void check_optional(const char* name, const std::optional<T>& value, T least, T most) {
  if (value)
    require_between(name, *value, least, most);
}

const FactorSpec& image_factor(const Manifest& manifest) {
  return manifest.factors.back();
}

// Maps scale with the image, and every factor's size must be a multiple of what the networks
// shrink it by: the number whose multiples the image's height (or width) can be.
std::int64_t size_step(const Manifest& manifest, int FactorSpec::* side) {
  const std::int64_t cell = manifest.latent_downscale * manifest.backbone_downscale;
  const std::int64_t image = image_factor(manifest).*side;
  std::int64_t step = cell;
  for (const auto& factor : manifest.factors) {
    const std::int64_t of_cells = cell * image;  // image * factor / image must divide by the cell
    step = std::lcm(step, of_cells / std::gcd(of_cells, std::int64_t{factor.*side}));
  }
  return step;
}

void check_size(const char* name, int value, std::int64_t step) {
  constexpr int most = 4096;
  require_between(name, std::int64_t{value}, std::min<std::int64_t>(step, most),
                  std::int64_t{most});
  if (value % step == 0)
    return;
  const auto below = value / step * step, above = below + step;
  std::string nearest = below > 0 ? shown(below) : "";
  if (above <= most)
    nearest += (nearest.empty() ? "" : " and ") + shown(above);
  throw RequestError(std::string(name) + " is " + shown(value) + ", expected a multiple of " +
                     shown(step) + "; the nearest are " + nearest);
}

void check_text(const char* name, const std::string& text) {
  if (text.size() > max_prompt_size)
    throw RequestError(std::string(name) + " has " + shown(text.size()) +
                       " bytes, expected at most " + shown(max_prompt_size) +
                       "; the text encoder reads only its beginning: shorten it");
}

// A value of an enumeration that is none of its names, which only a cast can make.
void check_enumerators(const Request& request) {
  const auto refuse = [](const char* name, int value) {
    throw RequestError(std::string(name) + " is " + shown(value) +
                       ", which is no enumerator; give one by its name");
  };
  if (request.guidance && *request.guidance != GuidanceKind::cfg &&
      *request.guidance != GuidanceKind::segfree)
    refuse("guidance", static_cast<int>(*request.guidance));
  for (const auto& [name, kind] : {std::pair("sampler", request.sampler),
                                   std::pair("condition_sampler", request.condition_sampler)})
    if (kind && !sampler_kind(sampler_name(*kind)))
      refuse(name, static_cast<int>(*kind));
}

void check_latents(const char* name, const std::vector<float>& latents, std::size_t expected,
                   const std::string& shape) {
  if (latents.empty())
    return;
  if (latents.size() != expected)
    throw RequestError(std::string(name) + " has " + shown(latents.size()) + " values, expected " +
                       shown(expected) + ", shape " + shape);
  for (const float value : latents)
    if (!std::isfinite(value))
      throw RequestError(std::string(name) + " holds a value that is not finite");
}

void check_interval(const char* name, const Interval& interval) {
  if (!(0.0 <= interval.start && interval.start <= interval.stop && interval.stop <= 1.0))
    throw RequestError(std::string(name) + " is (" + shown(interval.start) + ", " +
                       shown(interval.stop) +
                       "), expected two fractions of the steps, 0 <= start <= stop <= 1");
}

// The samplers know with how many steps they have timesteps.
void check_steps(const Request& request, const Manifest& manifest) {
  for (const auto& factor : manifest.factors)
    timesteps(manifest.schedule, factor_steps(request, factor), factor_sampler(request, factor),
              factor.is_image ? "num_inference_steps" : "condition_steps");
}

// What spends less on maps that cannot win.
void check_savings(const Request& request, const FactorSpec& factor) {
  const int last = factor_steps(request, factor) - 1;
  if (last < 1 && !request.prune.empty())
    throw RequestError("prune has " + shown(request.prune.front()) + ", but maps of factor " +
                       factor.name +
                       " take one step, after which they are done; leave prune out, or raise "
                       "condition_steps");
  for (std::size_t i = 0; i < request.prune.size(); ++i) {
    if (request.prune[i] < 1 || request.prune[i] > last)
      throw RequestError("prune has " + shown(request.prune[i]) + ", expected steps from 1 to " +
                         shown(last) + ", one less than condition_steps");
    if (i > 0 && request.prune[i] <= request.prune[i - 1])
      throw RequestError("prune must ascend, but " + shown(request.prune[i]) + " follows " +
                         shown(request.prune[i - 1]));
  }
  require_between("wave", request.wave, 0, 1000);
  if (request.wave > 0 && factor_stop_at_recall(request, factor) == 0.0)
    throw RequestError("wave is " + shown(request.wave) +
                       " without stop_at_recall, which says when to stop; give both");
}

// One scale for each network of the image factor that sees a control image.
void resolve_conditioning_scales(std::vector<double>& scales, const FactorSpec& image) {
  std::vector<double> defaults;
  for (const auto& spec : image.conditionings)
    if (spec.sees_image())
      defaults.push_back(spec.scale);
  if (scales.empty())
    scales = defaults;
  if (scales.size() == 1) {
    const double all = scales.front();
    scales.assign(defaults.size(), all);
  }
  if (scales.size() != defaults.size())
    throw RequestError("controlnet_conditioning_scale has " + shown(scales.size()) +
                       (scales.size() == 1 ? " value" : " values") + ", expected 1" +
                       (defaults.size() > 1 ? " or " + shown(defaults.size()) : "") +
                       ": one for each network that sees a control image, or one for all");
  for (const double scale : scales)
    require_between("controlnet_conditioning_scale", scale, 0.0, 10.0);
}

// Every control image that no factor makes is there, in the image's size, and no other.
void check_control_images(const Request& request, const Manifest& manifest) {
  std::set<std::string> wanted;
  for (const auto& spec : image_factor(manifest).conditionings)
    if (spec.sees_image() && !manifest.makes_map(spec.condition))
      wanted.insert(spec.condition);
  for (const auto& name : wanted)
    if (!request.control_images.contains(name))
      throw RequestError("control_images lacks \"" + name +
                         "\", which this bundle's image factor paints from");
  for (const auto& [name, picture] : request.control_images) {
    if (!wanted.contains(name))
      throw RequestError("control_images holds \"" + name +
                         "\", which no network of this bundle takes; it takes " +
                         (wanted.empty() ? "none" : joined({wanted.begin(), wanted.end()}, ", ")));
    const auto bytes =
        3 * static_cast<std::size_t>(*request.height) * static_cast<std::size_t>(*request.width);
    if (picture.height != *request.height || picture.width != *request.width ||
        picture.data.size() != bytes)
      throw RequestError("control image \"" + name + "\" is " + shown(picture.width) + " x " +
                         shown(picture.height) + " pixels, expected the image's size, " +
                         shown(*request.width) + " x " + shown(*request.height));
  }
}

// Sets an option of the condition factors to the default that all of them share. Where they differ
// it stays unset, and each takes its own.
template <typename T, typename Default>
void fill_shared(std::optional<T>& option, const Manifest& manifest, Default default_of) {
  std::set<T> defaults;
  for (const auto& factor : manifest.factors)
    if (!factor.is_image)
      defaults.insert(default_of(factor));
  if (!option && defaults.size() == 1)
    option = *defaults.begin();
}

void fill_condition_options(Request& request, const Manifest& manifest) {
  using F = const FactorSpec&;
  fill_shared(request.condition_steps, manifest, [](F f) { return f.num_inference_steps; });
  fill_shared(request.condition_sampler, manifest, [](F f) { return f.sampler; });
  fill_shared(request.condition_guidance_scale, manifest,
              [](F f) { return static_cast<double>(f.guidance.guidance_scale); });
  fill_shared(request.stop_at_recall, manifest, [](F f) { return f.stop_at_recall; });
  fill_shared(request.min_area, manifest, [](F f) { return f.min_area; });
}

std::string latent_shape(int rows, const Manifest& manifest, const FactorSize& size) {
  return "(" + shown(rows) + ", " + shown(manifest.latent_channels) + ", " +
         shown(size.latent_height) + ", " + shown(size.latent_width) + ")";
}

}  // namespace

void check_image_size(const Request& request, const Manifest& manifest) {
  check_size("height", *request.height, size_step(manifest, &FactorSpec::height));
  check_size("width", *request.width, size_step(manifest, &FactorSpec::width));
}

Request resolve(Request request, const Manifest& manifest) {
  const auto& image = image_factor(manifest);
  if (request.prompt.find_first_not_of(" \t\r\n") == std::string::npos)
    throw RequestError("prompt is empty; say what the picture should show, such as \"a dog beside "
                       "a house\"");
  check_text("prompt", request.prompt);
  check_text("negative_prompt", request.negative_prompt);
  check_enumerators(request);
  require_between("candidates", request.candidates, 1, 1000);
  check_optional("guidance_scale", request.guidance_scale, 0.0, 100.0);
  check_optional("condition_guidance_scale", request.condition_guidance_scale, 0.0, 100.0);
  check_optional("segfree_scale", request.segfree_scale, 0.0, 1000.0);
  check_optional("segfree_guidance_scale", request.segfree_guidance_scale, 0.0, 100.0);
  check_optional("segfree_start", request.segfree_start, 0.0, 1.0);
  resolve_conditioning_scales(request.controlnet_conditioning_scale, image);
  check_optional("min_area", request.min_area, 0.0, 1.0);
  check_optional("stop_at_recall", request.stop_at_recall, 0.0, 1.0);
  check_interval("guidance_interval", request.guidance_interval);
  check_interval("condition_guidance_interval", request.condition_guidance_interval);
  require_between("priority", request.priority, -1000, 1000);
  check_optional("deadline", request.deadline, 0.0, 1e9);
  request.height = request.height.value_or(image.height);
  request.width = request.width.value_or(image.width);
  check_image_size(request, manifest);

  const auto& defaults = image.guidance;
  request.num_inference_steps = request.num_inference_steps.value_or(image.num_inference_steps);
  request.sampler = request.sampler.value_or(image.sampler);
  request.guidance = request.guidance.value_or(defaults.kind);
  request.guidance_scale =
      request.guidance_scale.value_or(static_cast<double>(defaults.guidance_scale));
  request.segfree_scale =
      request.segfree_scale.value_or(static_cast<double>(defaults.segfree_scale));
  request.segfree_guidance_scale =
      request.segfree_guidance_scale.value_or(static_cast<double>(defaults.segfree_guidance_scale));
  request.segfree_start = request.segfree_start.value_or(defaults.segfree_start);
  fill_condition_options(request, manifest);
  check_steps(request, manifest);
  for (const auto& factor : manifest.factors)
    if (!factor.is_image)
      check_savings(request, factor);

  for (const auto& factor : manifest.factors) {
    const auto size = factor_size(request, manifest, factor);
    const int rows = factor.is_image ? 1 : request.candidates;
    const auto& latents = factor.is_image ? request.latents : request.condition_latents;
    check_latents(factor.is_image ? "latents" : "condition_latents", latents,
                  static_cast<std::size_t>(rows) * latent_elements(manifest, size),
                  latent_shape(rows, manifest, size));
  }
  check_control_images(request, manifest);
  if (!request.seed) {
    std::random_device entropy;
    request.seed = (static_cast<std::uint64_t>(entropy()) << 32U) | entropy();
  }
  return request;
}

FactorSize factor_size(const Request& resolved, const Manifest& manifest,
                       const FactorSpec& factor) {
  const auto& image = image_factor(manifest);
  const int height = *resolved.height * factor.height / image.height;
  const int width = *resolved.width * factor.width / image.width;
  return {height, width, height / manifest.latent_downscale, width / manifest.latent_downscale};
}

std::size_t pixels(const FactorSize& size) {
  return static_cast<std::size_t>(size.height) * static_cast<std::size_t>(size.width);
}

std::size_t latent_elements(const Manifest& manifest, const FactorSize& size) {
  return static_cast<std::size_t>(manifest.latent_channels) *
         static_cast<std::size_t>(size.latent_height) * static_cast<std::size_t>(size.latent_width);
}

GuidanceConfig factor_guidance(const Request& resolved, const FactorSpec& factor) {
  GuidanceConfig config = factor.guidance;
  config.interval =
      factor.is_image ? resolved.guidance_interval : resolved.condition_guidance_interval;
  if (!factor.is_image) {
    if (resolved.condition_guidance_scale)
      config.guidance_scale = static_cast<float>(*resolved.condition_guidance_scale);
    return config;
  }
  config.kind = *resolved.guidance;
  config.guidance_scale = static_cast<float>(*resolved.guidance_scale);
  config.segfree_scale = static_cast<float>(*resolved.segfree_scale);
  config.segfree_guidance_scale = static_cast<float>(*resolved.segfree_guidance_scale);
  config.segfree_start = *resolved.segfree_start;
  return config;
}

std::vector<float> conditioning_scales(const Request& resolved, const FactorSpec& factor) {
  std::vector<float> scales(factor.conditionings.size(), 1.0F);
  std::size_t image = 0;
  for (std::size_t i = 0; i < scales.size(); ++i)
    if (factor.conditionings[i].sees_image())
      scales[i] =
          static_cast<float>(factor.is_image ? resolved.controlnet_conditioning_scale.at(image++)
                                             : factor.conditionings[i].scale);
  return scales;
}

SamplerKind factor_sampler(const Request& resolved, const FactorSpec& factor) {
  return factor.is_image ? *resolved.sampler : resolved.condition_sampler.value_or(factor.sampler);
}

int factor_steps(const Request& resolved, const FactorSpec& factor) {
  return factor.is_image ? *resolved.num_inference_steps
                         : resolved.condition_steps.value_or(factor.num_inference_steps);
}

double factor_stop_at_recall(const Request& resolved, const FactorSpec& factor) {
  return resolved.stop_at_recall.value_or(factor.stop_at_recall);
}

double factor_min_area(const Request& resolved, const FactorSpec& factor) {
  return resolved.min_area.value_or(factor.min_area);
}

}  // namespace fgdm
