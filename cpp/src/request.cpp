#include "request.hpp"

#include <cmath>
#include <random>
#include <set>
#include <sstream>

#include "fgdm/error.hpp"

namespace fgdm {
namespace {

// A number as a person would write it.
template <typename T> std::string shown(T value) {
  std::ostringstream text;
  text << value;
  return text.str();
}

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

void check_size(const char* name, int value, int cell) {
  require_between(name, value, cell, 4096);
  if (value % cell != 0)
    throw RequestError(std::string(name) + " is " + shown(value) + ", expected a multiple of " +
                       shown(cell) + "; the nearest are " + shown(value / cell * cell) + " and " +
                       shown((value / cell + 1) * cell));
}

// Maps shrink with the image, so the image's size must be divisible where the map's has to be.
int size_cell(const Manifest& manifest) {
  const int cell = manifest.latent_downscale * manifest.backbone_downscale;
  int ratio = 1;
  for (const auto& factor : manifest.factors)
    ratio = std::max(ratio, image_factor(manifest).height / factor.height);
  return cell * ratio;
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

// What spends less on maps that cannot win; condition_steps is known by now.
void check_savings(const Request& request) {
  const int last = *request.condition_steps - 1;
  for (std::size_t i = 0; i < request.prune.size(); ++i) {
    if (request.prune[i] < 1 || request.prune[i] > last)
      throw RequestError("prune has " + shown(request.prune[i]) + ", expected steps from 1 to " +
                         shown(last) + ", one less than condition_steps");
    if (i > 0 && request.prune[i] <= request.prune[i - 1])
      throw RequestError("prune must ascend, but " + shown(request.prune[i]) + " follows " +
                         shown(request.prune[i - 1]));
  }
  require_between("stop_at_recall", *request.stop_at_recall, 0.0, 1.0);
  require_between("wave", request.wave, 0, 1000);
  if (request.wave > 0 && *request.stop_at_recall == 0.0)
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
  if (scales.size() == 1)
    scales.assign(defaults.size(), scales.front());
  if (scales.size() != defaults.size())
    throw RequestError("controlnet_conditioning_scale has " + shown(scales.size()) +
                       " values, expected 1 or " + shown(defaults.size()) +
                       ", one for each network that sees a control image");
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
                         "\", which no network of this bundle takes");
    const auto bytes =
        3 * static_cast<std::size_t>(*request.height) * static_cast<std::size_t>(*request.width);
    if (picture.height != *request.height || picture.width != *request.width ||
        picture.data.size() != bytes)
      throw RequestError("control image \"" + name + "\" is " + shown(picture.width) + " x " +
                         shown(picture.height) + " pixels, expected the image's size, " +
                         shown(*request.width) + " x " + shown(*request.height));
  }
}

std::string latent_shape(int rows, const Manifest& manifest, const FactorSize& size) {
  return "(" + shown(rows) + ", " + shown(manifest.latent_channels) + ", " +
         shown(size.latent_height) + ", " + shown(size.latent_width) + ")";
}

}  // namespace

void check_image_size(const Request& request, const Manifest& manifest) {
  check_size("height", *request.height, size_cell(manifest));
  check_size("width", *request.width, size_cell(manifest));
}

Request resolve(Request request, const Manifest& manifest) {
  const auto& image = image_factor(manifest);
  if (request.prompt.find_first_not_of(" \t\r\n") == std::string::npos)
    throw RequestError("prompt is empty; say what the picture should show, such as \"a dog beside "
                       "a house\"");
  require_between("candidates", request.candidates, 1, 1000);
  check_optional("condition_steps", request.condition_steps, 1, 1000);
  check_optional("num_inference_steps", request.num_inference_steps, 1, 1000);
  check_optional("guidance_scale", request.guidance_scale, 0.0, 100.0);
  check_optional("condition_guidance_scale", request.condition_guidance_scale, 0.0, 100.0);
  check_optional("segfree_scale", request.segfree_scale, 0.0, 1000.0);
  check_optional("segfree_guidance_scale", request.segfree_guidance_scale, 0.0, 100.0);
  check_optional("segfree_start", request.segfree_start, 0.0, 1.0);
  resolve_conditioning_scales(request.controlnet_conditioning_scale, image);
  check_optional("min_area", request.min_area, 0.0, 1.0);
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
  const auto& first = manifest.factors.front();
  request.condition_steps = request.condition_steps.value_or(first.num_inference_steps);
  request.condition_sampler = request.condition_sampler.value_or(first.sampler);
  request.condition_guidance_scale =
      request.condition_guidance_scale.value_or(static_cast<double>(first.guidance.guidance_scale));
  request.stop_at_recall = request.stop_at_recall.value_or(first.stop_at_recall);
  request.min_area = request.min_area.value_or(first.min_area);
  check_savings(request);

  for (const auto& factor : manifest.factors) {
    const auto size = factor_size(request, manifest, factor);
    const int rows = factor.is_image ? 1 : request.candidates;
    const auto& latents = factor.is_image ? request.latents : request.condition_latents;
    check_latents(factor.is_image ? "latents" : "condition_latents", latents,
                  static_cast<std::size_t>(rows) * latent_elements(manifest, size),
                  latent_shape(rows, manifest, size));
    // The sampler knows how many distinct timesteps there are.
    timesteps(manifest.schedule, factor_steps(request, factor), factor_sampler(request, factor));
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

std::size_t latent_elements(const Manifest& manifest, const FactorSize& size) {
  return static_cast<std::size_t>(manifest.latent_channels) *
         static_cast<std::size_t>(size.latent_height) * static_cast<std::size_t>(size.latent_width);
}

GuidanceConfig factor_guidance(const Request& resolved, const FactorSpec& factor) {
  GuidanceConfig config = factor.guidance;
  config.interval =
      factor.is_image ? resolved.guidance_interval : resolved.condition_guidance_interval;
  if (!factor.is_image) {
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
  return factor.is_image ? *resolved.sampler : *resolved.condition_sampler;
}

int factor_steps(const Request& resolved, const FactorSpec& factor) {
  return factor.is_image ? *resolved.num_inference_steps : *resolved.condition_steps;
}

}  // namespace fgdm
