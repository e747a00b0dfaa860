#include "chain_rules.hpp"

#include <algorithm>
#include <set>

#include "manifest_field.hpp"

namespace fgdm {
namespace {

// Chains that this version runs: any number of maps, and one image.
void check_order(const std::vector<FactorSpec>& factors) {
  if (factors.empty() || !factors.back().is_image)
    refuse_manifest("factors should end with one of kind \"image\"");
  for (const auto& factor : factors)
    if (factor.is_image != (&factor == &factors.back()))
      refuse_manifest("only the last factor may be of kind \"image\", but " + factor.name + " is");
}

void check_stride(const Manifest& manifest, const std::string& name, const ResidualSpec& features) {
  if (manifest.backbone_downscale % features.stride != 0)
    refuse_manifest("the stride of " + name + " is " + std::to_string(features.stride) +
                    ", expected a divisor of backbone.downscale, " +
                    std::to_string(manifest.backbone_downscale));
}

// A latent is the factor's own or an earlier factor's, and each is seen once.
// `network` is "the adapter" or "the backbone", and `graph` its name.
void check_latents(const FactorSpec& factor, const std::string& network, const std::string& graph,
                   const std::vector<std::string>& latents, const std::set<std::string>& earlier) {
  const auto who = network + " " + graph + " of factor " + factor.name;
  if (latents.empty())
    refuse_manifest(who + " sees no latents, expected the names of factors");
  std::set<std::string> seen;
  for (const auto& name : latents) {
    if (name != factor.name && !earlier.contains(name))
      refuse_manifest("factor " + factor.name + " needs the latents of \"" + name +
                      "\", which is no earlier factor");
    if (!seen.insert(name).second)
      refuse_manifest(who + " sees the latents of " + name + " twice");
  }
}

// A backbone of a factor's own predicts the noise of the factor's own latent, so it sees that too.
void check_own_backbone(const Manifest& manifest, const FactorSpec& factor,
                        const std::set<std::string>& earlier) {
  const auto& graph = factor.own_backbone;
  if (graph.empty())
    return;
  manifest.graph(graph);
  check_latents(factor, "the backbone", graph, factor.latents, earlier);
  if (std::ranges::find(factor.latents, factor.name) == factor.latents.end())
    refuse_manifest("the backbone " + graph + " of factor " + factor.name +
                    " doesn't see the factor's own latent, expected \"" + factor.name +
                    "\" among its latents");
}

// A request that leaves the steps to the bundle must be able to take them.
void check_steps(const Manifest& manifest, const FactorSpec& factor) {
  try {
    timesteps(manifest.schedule, factor.num_inference_steps, factor.sampler,
              factor.timestep_spacing);
  } catch (const RequestError& error) {
    refuse_manifest("factor " + factor.name +
                    " has steps that its sampler can't take: " + error.what());
  }
}

void check_cache(const Manifest& manifest, const FactorSpec& factor) {
  const auto obstacle = manifest.cache_obstacle(factor, factor.cache.level);
  if (factor.cache.interval > 1 && !obstacle.empty())
    refuse_manifest("factor " + factor.name + " has a cache_interval of " +
                    std::to_string(factor.cache.interval) + ", but " + obstacle);
}

// A map must come from an earlier factor; only the image's networks may see images of the request.
void check_conditioning(const Manifest& manifest, const FactorSpec& factor,
                        const ConditioningSpec& spec, const std::set<std::string>& earlier) {
  manifest.graph(spec.graph);
  if (!spec.hint_graph.empty())
    manifest.graph(spec.hint_graph);
  if (!spec.sees_image()) {
    check_latents(factor, "the adapter", spec.graph, spec.latents, earlier);
    return;
  }
  const bool later = manifest.makes_map(spec.condition) && !earlier.contains(spec.condition);
  if (later || (!factor.is_image && !earlier.contains(spec.condition)))
    refuse_manifest("factor " + factor.name + " needs the map of \"" + spec.condition +
                    "\", which is no earlier factor");
  if (!spec.hint_palette.empty())
    for (const auto& maker : manifest.factors)
      if (maker.name == spec.condition && !maker.makes_labels())
        refuse_manifest("factor " + factor.name + " recolours what " + maker.name +
                        " makes, which is no label map");
  if (!spec.hint_palette.empty() && !manifest.files.contains(spec.hint_palette))
    refuse_manifest("factor " + factor.name + " names " + spec.hint_palette +
                    ", which is not in \"files\"");
}

// A LoRA changes factors over the shared backbone, and has a name and a file of its own.
void check_loras(const Manifest& manifest) {
  std::set<std::string> names;
  for (const auto& lora : manifest.loras) {
    if (!names.insert(lora.name).second)
      refuse_manifest("two LoRAs are called " + lora.name);
    if (!manifest.files.contains(lora.file))
      refuse_manifest("the LoRA " + lora.name + " names " + lora.file +
                      ", which is not in \"files\"");
    if (lora.factors.empty())
      refuse_manifest("the LoRA " + lora.name + " changes no factor, expected their names");
    for (const auto& name : lora.factors) {
      const auto found = std::ranges::find(manifest.factors, name, &FactorSpec::name);
      if (found == manifest.factors.end())
        refuse_manifest("the LoRA " + lora.name + " changes the factor \"" + name +
                        "\", which the bundle doesn't have");
      if (!found->own_backbone.empty())
        refuse_manifest("the LoRA " + lora.name + " changes the factor " + name +
                        ", which has a backbone of its own; LoRAs are for the shared one");
    }
  }
}

}  // namespace

void check_chain(const Manifest& manifest) {
  check_order(manifest.factors);
  for (const auto& [name, residual] : manifest.residuals)
    check_stride(manifest, name, residual);
  for (std::size_t i = 0; i < manifest.shallow.size(); ++i)
    check_stride(manifest, deep_features(static_cast<int>(i) + 1), manifest.shallow[i].features);
  std::set<std::string> earlier;
  for (const auto& factor : manifest.factors) {
    check_steps(manifest, factor);
    check_cache(manifest, factor);
    check_own_backbone(manifest, factor, earlier);
    for (const auto& spec : factor.conditionings)
      check_conditioning(manifest, factor, spec, earlier);
    if (!earlier.insert(factor.name).second)
      refuse_manifest("two factors are called " + factor.name);
    const int cell = manifest.latent_downscale * manifest.backbone_downscale;
    if (factor.height % cell != 0 || factor.width % cell != 0)
      refuse_manifest("the size of factor " + factor.name + " is not divisible by " +
                      std::to_string(cell));
    if (factor.makes_labels() && !manifest.files.contains(factor.palette))
      refuse_manifest("factor " + factor.name + " names the palette \"" + factor.palette +
                      "\", which is not in \"files\"");
  }
  check_loras(manifest);
  if (!manifest.preview_decoder.empty())
    manifest.graph(manifest.preview_decoder);
  for (const auto& graph :
       {manifest.text_encoder, manifest.vae_decoder, manifest.vae_encoder, manifest.backbone})
    manifest.graph(graph);
}

}  // namespace fgdm
