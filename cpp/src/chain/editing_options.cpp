#include "editing_options.hpp"

#include <algorithm>
#include <cmath>
#include <span>

#include "fgdm/sha256.hpp"
#include "request.hpp"
#include "request_checks.hpp"

namespace fgdm {

int InversionSettings::first() const {
  return static_cast<int>(std::floor(skip * num_inference_steps + 0.5));
}

namespace {

constexpr std::size_t most_edits = 8;

const FactorSpec& edited_factor(const std::string& name, const Manifest& manifest) {
  std::vector<std::string> names;
  for (const auto& factor : manifest.factors) {
    if (factor.name == name)
      return factor;
    names.push_back(factor.name);
  }
  throw RequestError("factor is \"" + excerpt(name) + "\", which this bundle hasn't; it has " +
                     joined(names, ", "));
}

void resolve_settings(InversionSettings& settings, const Manifest& manifest,
                      const FactorSpec& factor) {
  check_text("prompt of the inversion", settings.prompt);
  check_text("negative_prompt of the inversion", settings.negative_prompt);
  require_between("guidance_scale of the inversion", settings.guidance_scale, 0.0, 100.0);
  const bool is_ddim = settings.sampler == SamplerKind::ddim;
  if (!is_ddim && settings.sampler != SamplerKind::dpmsolver_sde)
    throw RequestError("sampler of the inversion is \"" +
                       std::string(sampler_name(settings.sampler)) +
                       "\", expected \"dpmsolver++_sde\" or \"ddim\"");
  if (settings.eta != 1.0 && !(is_ddim && settings.eta == 0.0))
    throw RequestError("eta is " + shown(settings.eta) +
                       ", expected 1, or with the sampler \"ddim\" 1 or 0");
  require_between("num_inference_steps of the inversion", settings.num_inference_steps, 2, 1000);
  if (!settings.timestep_spacing)
    settings.timestep_spacing =
        factor.timestep_spacing.value_or(manifest.schedule.spacing(settings.sampler));
  check_spacing("timestep_spacing of the inversion", *settings.timestep_spacing, settings.sampler);
  timesteps(manifest.schedule, settings.num_inference_steps, settings.sampler,
            settings.timestep_spacing, "num_inference_steps of the inversion");
  if (!(settings.skip >= 0.0 && settings.skip < 1.0))
    throw RequestError("skip is " + shown(settings.skip) + ", expected 0 to less than 1");
  if (settings.first() >= settings.num_inference_steps)
    throw RequestError("skip is " + shown(settings.skip) + ", which of " +
                       shown(settings.num_inference_steps) + " steps leaves none; lower it");
}

// Finite numbers: `rows` latents of the factor's size.
void check_rows(const std::string& name, std::span<const float> values, std::size_t rows,
                const FactorSize& size, const Manifest& manifest) {
  const auto expected = rows * latent_elements(manifest, size);
  if (values.size() != expected)
    throw RequestError(name + " has " + shown(values.size()) + " numbers, expected " +
                       shown(expected) + ": " + shown(rows) + " latents of (" +
                       shown(manifest.latent_channels) + ", " + shown(size.latent_height) + ", " +
                       shown(size.latent_width) + ")");
  if (!std::ranges::all_of(values, [](float value) { return std::isfinite(value); }))
    throw RequestError(name + " isn't finite; give finite numbers");
}

void check_edit(const Edit& edit, std::size_t index, int steps, const FactorSize& size,
                const std::string& backbone, const GraphSpec& predicts) {
  const auto name = [&](const char* field) { return "edits[" + shown(index) + "] " + field; };
  check_text(name("prompt"), edit.prompt);
  if (edit.prompt.find_first_not_of(" \t\r\n") == std::string::npos)
    throw RequestError(name("prompt") + " is empty; say what shall be there, or no longer, such as "
                                        "\"a dog\"");
  require_between(name("scale"), edit.scale, 0.0, 100.0);
  require_between(name("warm_up"), edit.warm_up, 0, steps - 1);
  check_optional(name("cool_down"), edit.cool_down, edit.warm_up + 1, steps);
  require_between(name("threshold"), edit.threshold, 0.0, 1.0);
  if (edit.attention && predicts.attention_stride == 0)
    throw RequestError(name("attention") + " is set, but the graph " + backbone +
                       " of this bundle makes no attention maps; export the bundle again with "
                       "--attention-maps, or leave attention out");
  check_text(name("region"), edit.region);
  if (edit.mask.data.empty())
    return;
  check_picture(name("mask"), edit.mask, size, 1, "the picture's");
  if (std::ranges::count(edit.mask.data, 0) == std::ssize(edit.mask.data))
    throw RequestError(name("mask") + " marks no pixel that may change; those are white, or true "
                                      "in an array");
}

// Those that are made of an inversion, or are to follow one.
void check_edits(const std::vector<Edit>& edits, const InversionSettings& settings,
                 const FactorSize& size, const Manifest& manifest, const FactorSpec& factor) {
  if (edits.empty() || edits.size() > most_edits)
    throw RequestError("edits has " + shown(edits.size()) + " entries, expected 1 to " +
                       shown(most_edits));
  const int steps = settings.num_inference_steps - settings.first();
  const auto& backbone = manifest.backbone_of(factor);
  for (std::size_t i = 0; i < edits.size(); ++i)
    check_edit(edits[i], i, steps, size, backbone, manifest.graph(backbone));
}

void check_data(const Editing& editing, const FactorSize& size, const Manifest& manifest) {
  const auto& settings = editing.settings;
  const auto steps = static_cast<std::size_t>(settings.num_inference_steps - settings.first());
  if (editing.inversion) {
    check_rows("latents of the inversion", editing.inversion->latents, 1, size, manifest);
    check_rows("remainders of the inversion", editing.inversion->remainders,
               settings.eta == 0.0 ? 0 : steps, size, manifest);
    check_rows("visited of the inversion", editing.inversion->visited, steps, size, manifest);
    check_picture("picture of the inversion", editing.inversion->picture, size, 3, "the factor's");
    if (!editing.noise.empty())
      throw RequestError("noise is given, but the inversion has its own; leave it out");
  } else if (!editing.noise.empty()) {
    check_rows("noise of the inversion", editing.noise, settings.eta == 0.0 ? 0 : steps, size,
               manifest);
  }
}

// Options of the factor that only the inversion can say.
void refuse_options(const std::string& prefix,
                    std::span<const std::pair<const char*, bool>> options) {
  for (const auto& [option, is_set] : options)
    if (is_set)
      throw RequestError(prefix + option +
                         " is set, but the inversion says how this factor is "
                         "sampled; leave it out");
}

void check_source(const char* what, bool is_given, bool inverts) {
  if (inverts && !is_given)
    throw RequestError(std::string("there is no ") + what + " to invert; give one");
  if (!inverts && is_given)
    throw RequestError(std::string(what) +
                       " is given, but the inversion has its own picture; leave it out");
}

void resolve_map(Request& request, const FactorSpec& factor, const InversionSettings& settings,
                 bool inverts) {
  auto& options = request.factors[factor.name];
  const std::pair<const char*, bool> all[] = {
      {"left_out", options.left_out},
      {"negative_prompt", options.negative_prompt.has_value()},
      {"candidates", options.candidates.has_value()},
      {"condition_steps", options.condition_steps.has_value()},
      {"sampler", options.sampler.has_value()},
      {"timestep_spacing", options.timestep_spacing.has_value()},
      {"cache_interval", options.cache_interval.has_value()},
      {"cache_level", options.cache_level.has_value()},
      {"guidance_scale", options.guidance_scale.has_value()},
      {"guidance_interval", options.guidance_interval.has_value()},
      {"prune", options.prune.has_value()},
      {"stop_at_recall", options.stop_at_recall.has_value()},
      {"wave", options.wave.has_value()},
      {"strength", options.strength.has_value()},
      {"latents", !options.latents.empty() || !request.condition_latents.empty() ||
                      options.latents_on_device || request.condition_latents_on_device}};
  refuse_options("factors[\"" + factor.name + "\"] ", all);
  check_source("map", !options.map.data.empty(), inverts);
  options.candidates = 1;
  options.condition_steps = settings.num_inference_steps;
  options.sampler = settings.sampler;
  options.timestep_spacing = settings.timestep_spacing;
  options.guidance_scale = settings.guidance_scale;
  options.guidance_interval = Interval{};
  if (factor.cache.interval > 1)
    options.cache_interval = 1;
  if (factor.makes_labels()) {
    options.prune.emplace();
    options.wave = 0;
  }
}

void resolve_image(Request& request, const FactorSpec& factor, const InversionSettings& settings,
                   bool inverts) {
  const std::pair<const char*, bool> all[] = {
      {"num_inference_steps", request.num_inference_steps.has_value()},
      {"sampler", request.sampler.has_value()},
      {"timestep_spacing", request.timestep_spacing.has_value()},
      {"cache_interval", request.cache_interval.has_value()},
      {"cache_level", request.cache_level.has_value()},
      {"guidance", request.guidance.has_value()},
      {"guidance_scale", request.guidance_scale.has_value()},
      {"segfree_scale", request.segfree_scale.has_value()},
      {"segfree_guidance_scale", request.segfree_guidance_scale.has_value()},
      {"segfree_start", request.segfree_start.has_value()},
      {"strength", request.strength.has_value()},
      {"mask", !request.mask.data.empty()},
      {"latents", !request.latents.empty() || request.latents_on_device}};
  refuse_options("", all);
  check_source("image", has_image(request), inverts);
  request.num_inference_steps = settings.num_inference_steps;
  request.sampler = settings.sampler;
  request.timestep_spacing = settings.timestep_spacing;
  request.guidance = GuidanceKind::cfg;
  request.guidance_scale = settings.guidance_scale;
  request.guidance_interval = Interval{};
  if (factor.cache.interval > 1)
    request.cache_interval = 1;
}

}  // namespace

void resolve_editing(Request& request, const Manifest& manifest) {
  if (!request.editing)
    return;
  auto& editing = *request.editing;
  const bool inverts = editing.inversion == nullptr;
  if (!inverts) {
    editing.settings = editing.inversion->settings;
    if (editing.inversion->height != *request.height || editing.inversion->width != *request.width)
      throw RequestError("the request's image is " + shown(*request.height) + "x" +
                         shown(*request.width) + " pixels, but the inversion is of one of " +
                         shown(editing.inversion->height) + "x" + shown(editing.inversion->width) +
                         "; give that height and width");
  }
  const auto& factor = edited_factor(editing.settings.factor, manifest);
  resolve_settings(editing.settings, manifest, factor);
  const auto size = factor_size(request, manifest, factor);
  check_data(editing, size, manifest);
  if (!inverts || !editing.following.empty())
    check_edits(inverts ? editing.following : editing.edits, editing.settings, size, manifest,
                factor);
  if (inverts && !editing.edits.empty())
    throw RequestError("edits are given, but nothing that was inverted; invert a picture first");
  if (std::ranges::count(request.joint, factor.name) > 0)
    throw RequestError("joint has \"" + factor.name + "\", which is " +
                       (inverts ? "inverted" : "edited") +
                       "; only factors that are sampled from noise can go together");
  if (factor.is_image)
    resolve_image(request, factor, editing.settings, inverts);
  else
    resolve_map(request, factor, editing.settings, inverts);
}

std::string manifest_sha256(const Bundle& bundle) {
  Sha256 hash;
  hash.update(std::as_bytes(std::span(bundle.manifest_json())));
  return hash.hex();
}

void check_inversion(const Request& resolved, const Bundle& bundle) {
  if (!resolved.editing || !resolved.editing->inversion)
    return;
  const auto hash = manifest_sha256(bundle);
  if (resolved.editing->inversion->bundle != hash)
    throw RequestError("the inversion was made with the bundle whose manifest has the SHA-256 " +
                       excerpt(resolved.editing->inversion->bundle, 64) + ", but this one's is " +
                       hash + "; invert the picture with this bundle");
}

const Editing* editing_of(const Request& request, const FactorSpec& factor) {
  return request.editing && request.editing->settings.factor == factor.name ? &*request.editing
                                                                            : nullptr;
}

bool is_inverted(const Request& request, const FactorSpec& factor) {
  const auto* editing = editing_of(request, factor);
  return editing != nullptr && !editing->inversion;
}

}  // namespace fgdm
