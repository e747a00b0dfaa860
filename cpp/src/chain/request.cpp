#include "request.hpp"

#include <algorithm>
#include <cstdint>
#include <numeric>
#include <random>
#include <set>

#include "device_inputs.hpp"
#include "editing_options.hpp"
#include "factor_options.hpp"
#include "request_checks.hpp"

namespace fgdm {
namespace {

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
  for (const auto& [name, spacing] :
       {std::pair("timestep_spacing", request.timestep_spacing),
        std::pair("condition_timestep_spacing", request.condition_timestep_spacing)})
    if (spacing && !timestep_spacing(spacing_name(*spacing)))
      refuse(name, static_cast<int>(*spacing));
}

// What the map is chosen by, and when it is good enough.
void check_choice(const Request& request) {
  check_optional("stop_at_compliance", request.stop_at_compliance, 0.0, 1.0);
  require_between("instance_opening", request.instance_opening, 0, 64);
  if (request.select != SelectBy::recall && request.select != SelectBy::compliance &&
      request.select != SelectBy::callback)
    throw RequestError("select is " + shown(static_cast<int>(request.select)) +
                       ", which is no enumerator; give one by its name");
  if (request.select == SelectBy::callback &&
      (request.stop_at_recall || request.stop_at_compliance))
    throw RequestError(
        std::string(request.stop_at_recall ? "stop_at_recall" : "stop_at_compliance") +
        " is given, but a callback chooses among all maps; leave it out");
  if (request.select == SelectBy::recall && request.stop_at_compliance)
    throw RequestError("stop_at_compliance is " + shown(*request.stop_at_compliance) +
                       ", but maps are chosen by recall; choose by compliance, or give "
                       "stop_at_recall");
  if (request.select == SelectBy::compliance && request.stop_at_recall)
    throw RequestError("stop_at_recall is " + shown(*request.stop_at_recall) +
                       ", but maps are chosen by compliance; give stop_at_compliance");
}

// The step that is taken first where a picture is noised to a strength, as in diffusers.
int first_step(int steps, double strength) {
  return steps - std::min(static_cast<int>(steps * strength), steps);
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

// LoRAs that the bundle has. An inversion doesn't know of any, so what is inverted or edited is
// changed by none.
void check_loras(const Request& request, const Manifest& manifest) {
  std::vector<std::string> names;
  for (const auto& lora : manifest.loras)
    names.push_back(lora.name);
  for (const auto& [name, scale] : request.loras) {
    const auto found = std::ranges::find(manifest.loras, name, &LoraSpec::name);
    if (found == manifest.loras.end())
      throw RequestError(
          "loras has \"" + excerpt(name) + "\", which this bundle doesn't have; it has " +
          (names.empty() ? "none: fgdm export --runtime-lora puts them in" : joined(names, ", ")));
    require_between("loras[\"" + name + "\"]", scale, -100.0, 100.0);
    if (request.editing && scale != 0.0 &&
        std::ranges::count(found->factors, request.editing->settings.factor) > 0)
      throw RequestError("loras has \"" + name + "\", which changes the factor " +
                         request.editing->settings.factor +
                         "; what is inverted or edited takes no LoRAs: leave it out, or merge it "
                         "into a bundle with fgdm export --lora");
  }
}

// Every control image that no factor makes is there, in the image's size, and no other.
void check_control_images(const Request& request, const Manifest& manifest) {
  std::set<std::string> wanted;
  for (const auto& spec : image_factor(manifest).conditionings)
    if (spec.sees_image() && !manifest.makes_map(spec.condition))
      wanted.insert(spec.condition);
  for (const auto& name : wanted)
    if (!request.control_images.contains(name) && !request.control_images_on_device.contains(name))
      throw RequestError("control_images lacks \"" + name +
                         "\", which this bundle's image factor paints from");
  const auto check_name = [&](const std::string& name) {
    if (!wanted.contains(name))
      throw RequestError("control_images holds \"" + name +
                         "\", which no network of this bundle takes; it takes " +
                         (wanted.empty() ? "none" : joined({wanted.begin(), wanted.end()}, ", ")));
  };
  const auto size = factor_size(request, manifest, image_factor(manifest));
  for (const auto& [name, picture] : request.control_images) {
    check_name(name);
    check_picture("control image \"" + name + "\"", picture, size, 3, "the image's");
  }
  for (const auto& [name, picture] : request.control_images_on_device) {
    check_name(name);
    check_array("control image \"" + name + "\"", picture, DType::uint8, picture_shape(size),
                request.control_images.contains(name));
  }
}

// What the image begins with, if not with noise.
void check_start(Request& request, const Manifest& manifest) {
  const auto size = factor_size(request, manifest, image_factor(manifest));
  if (!has_image(request)) {
    if (!request.mask.data.empty())
      throw RequestError("mask is given, but no image whose pixels it could keep; give both");
    if (request.strength)
      throw RequestError("strength is " + shown(*request.strength) +
                         ", but there is no image to begin with; give both");
    return;
  }
  if (is_image_joint(request, manifest))
    throw RequestError("image is given, but joint names the image, which then begins with noise as "
                       "the maps do; drop one of the two");
  check_array("image", request.image_on_device, DType::uint8, picture_shape(size),
              !request.image.data.empty());
  if (!request.image_on_device)
    check_picture("image", request.image, size, 3, "the image's");
  if (is_inverted(request, image_factor(manifest))) {
    if (request.image_on_device)
      throw RequestError("image lies on the device, but what is inverted is part of the inversion, "
                         "which the host has; give it on the host");
    return;
  }
  if (!request.mask.data.empty()) {
    check_picture("mask", request.mask, size, 1, "the image's");
    if (std::ranges::count(request.mask.data, 0) == std::ssize(request.mask.data))
      throw RequestError("mask marks no pixel that is to be painted anew; those are white, or "
                         "transparent in a picture with alpha");
  }
  request.strength = request.strength.value_or(request.mask.data.empty() ? 0.8 : 1.0);
  require_between("strength", *request.strength, 0.0, 1.0);
  if (first_step(*request.num_inference_steps, *request.strength) == *request.num_inference_steps)
    throw RequestError("strength is " + shown(*request.strength) + ", which of " +
                       shown(*request.num_inference_steps) +
                       " steps leaves none; raise it, or the number of steps");
}

}  // namespace

void check_image_size(const Request& request, const Manifest& manifest) {
  check_size("height", *request.height, size_step(manifest, &FactorSpec::height));
  check_size("width", *request.width, size_step(manifest, &FactorSpec::width));
}

Request resolve(Request request, const Manifest& manifest) {
  const auto& image = image_factor(manifest);
  const bool paints =
      !request.editing ||
      (request.editing->inversion && request.editing->inversion->settings.factor != image.name);
  if (paints && request.prompt.find_first_not_of(" \t\r\n") == std::string::npos)
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
  check_choice(request);
  check_interval("guidance_interval", request.guidance_interval);
  check_interval("condition_guidance_interval", request.condition_guidance_interval);
  require_between("priority", request.priority, -1000, 1000);
  check_optional("deadline", request.deadline, 0.0, 1e9);
  request.height = request.height.value_or(image.height);
  request.width = request.width.value_or(image.width);
  check_image_size(request, manifest);
  resolve_editing(request, manifest);
  check_loras(request, manifest);

  const auto& defaults = image.guidance;
  request.num_inference_steps = request.num_inference_steps.value_or(image.num_inference_steps);
  request.sampler = request.sampler.value_or(image.sampler);
  request.timestep_spacing = request.timestep_spacing.value_or(
      image.timestep_spacing.value_or(manifest.schedule.spacing(*request.sampler)));
  request.guidance = request.guidance.value_or(defaults.kind);
  request.guidance_scale =
      request.guidance_scale.value_or(static_cast<double>(defaults.guidance_scale));
  request.segfree_scale =
      request.segfree_scale.value_or(static_cast<double>(defaults.segfree_scale));
  request.segfree_guidance_scale =
      request.segfree_guidance_scale.value_or(static_cast<double>(defaults.segfree_guidance_scale));
  request.segfree_start = request.segfree_start.value_or(defaults.segfree_start);
  resolve_cache(request.cache_interval, request.cache_level, "", manifest, image);
  check_spacing("timestep_spacing", *request.timestep_spacing, *request.sampler);
  timesteps(manifest.schedule, *request.num_inference_steps, *request.sampler,
            request.timestep_spacing);
  resolve_factors(request, manifest);
  if (request.select == SelectBy::compliance && !request.stop_at_compliance)
    request.stop_at_compliance = request.stop_at_recall;
  check_latents("latents", request.latents, request.latents_shape, images(request, manifest),
                manifest, factor_size(request, manifest, image));
  check_array(
      "latents", request.latents_on_device, DType::float32,
      latents_shape(manifest, factor_size(request, manifest, image), images(request, manifest)),
      !request.latents.empty());
  check_start(request, manifest);
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
  if (!factor.is_image) {
    const auto& options = resolved.factors.at(factor.name);
    config.guidance_scale = static_cast<float>(*options.guidance_scale);
    config.interval = *options.guidance_interval;
    return config;
  }
  config.interval = resolved.guidance_interval;
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

CacheConfig factor_cache(const Request& resolved, const FactorSpec& factor) {
  if (factor.is_image)
    return {*resolved.cache_interval, *resolved.cache_level};
  const auto& options = resolved.factors.at(factor.name);
  return {*options.cache_interval, *options.cache_level};
}

SamplerKind factor_sampler(const Request& resolved, const FactorSpec& factor) {
  return factor.is_image ? *resolved.sampler : *resolved.factors.at(factor.name).sampler;
}

TimestepSpacing factor_spacing(const Request& resolved, const FactorSpec& factor) {
  return factor.is_image ? *resolved.timestep_spacing
                         : *resolved.factors.at(factor.name).timestep_spacing;
}

int factor_steps(const Request& resolved, const FactorSpec& factor) {
  return factor.is_image ? *resolved.num_inference_steps
                         : *resolved.factors.at(factor.name).condition_steps;
}

int factor_first_step(const Request& resolved, const FactorSpec& factor) {
  if (const auto* editing = editing_of(resolved, factor))
    return editing->settings.first();
  const auto& strength =
      factor.is_image ? resolved.strength : resolved.factors.at(factor.name).strength;
  return strength ? first_step(factor_steps(resolved, factor), *strength) : 0;
}

bool is_image_joint(const Request& resolved, const Manifest& manifest) {
  return std::ranges::count(resolved.joint, image_factor(manifest).name) > 0;
}

int images(const Request& resolved, const Manifest& manifest) {
  if (!is_image_joint(resolved, manifest))
    return 1;
  const auto map = std::ranges::find_if(
      resolved.joint, [&](const std::string& name) { return name != image_factor(manifest).name; });
  return *resolved.factors.at(*map).candidates;
}

bool has_image(const Request& request) {
  return !request.image.data.empty() || request.image_on_device;
}

const std::vector<float>& factor_latents(const Request& resolved, const FactorSpec& factor) {
  return factor.is_image ? resolved.latents : resolved.factors.at(factor.name).latents;
}

const DeviceArray& factor_latents_on_device(const Request& resolved, const FactorSpec& factor) {
  return factor.is_image ? resolved.latents_on_device
                         : resolved.factors.at(factor.name).latents_on_device;
}

}  // namespace fgdm
