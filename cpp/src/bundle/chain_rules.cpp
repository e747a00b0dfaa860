#include "chain_rules.hpp"

#include <set>

#include "manifest_field.hpp"

namespace fgdm {
namespace {

// Chains that this version runs: maps first, each painted by adapters or from earlier maps, and one
// image, painted from maps and the request's own images.
void check_order(const std::vector<FactorSpec>& factors) {
  if (factors.empty() || !factors.back().is_image)
    refuse_manifest("factors should end with one of kind \"image\"");
  if (factors.size() < 2)
    refuse_manifest(
        "factors has only the image \"" + factors.back().name +
        "\"; this version runs chains of at least one factor of kind \"condition\" before it");
  for (const auto& factor : factors)
    if (factor.is_image != (&factor == &factors.back()))
      refuse_manifest("only the last factor may be of kind \"image\", but " + factor.name + " is");
  for (const auto& spec : factors.back().conditionings)
    if (!spec.sees_image())
      refuse_manifest(
          "the factor " + factors.back().name + " of kind \"image\" has the adapter " + spec.graph +
          "; adapters belong to factors of kind \"condition\", an image takes \"controlnet\" and "
          "\"t2i_adapter\"");
}

// A map must come from an earlier factor; only the image's networks may see images of the request.
void check_conditioning(const Manifest& manifest, const FactorSpec& factor,
                        const ConditioningSpec& spec, const std::set<std::string>& earlier) {
  manifest.graph(spec.graph);
  if (!spec.hint_graph.empty())
    manifest.graph(spec.hint_graph);
  const bool later = manifest.makes_map(spec.condition) && !earlier.contains(spec.condition);
  if (spec.sees_image() && (later || (!factor.is_image && !earlier.contains(spec.condition))))
    refuse_manifest("factor " + factor.name + " needs the map of \"" + spec.condition +
                    "\", which is no earlier factor");
  if (!spec.hint_palette.empty() && !manifest.files.contains(spec.hint_palette))
    refuse_manifest("factor " + factor.name + " names " + spec.hint_palette +
                    ", which is not in \"files\"");
}

}  // namespace

void check_chain(const Manifest& manifest) {
  check_order(manifest.factors);
  for (const auto& [name, residual] : manifest.residuals)
    if (manifest.backbone_downscale % residual.stride != 0)
      refuse_manifest("the stride of " + name + " is " + std::to_string(residual.stride) +
                      ", expected a divisor of backbone.downscale, " +
                      std::to_string(manifest.backbone_downscale));
  std::set<std::string> earlier;
  for (const auto& factor : manifest.factors) {
    for (const auto& spec : factor.conditionings)
      check_conditioning(manifest, factor, spec, earlier);
    if (!earlier.insert(factor.name).second)
      refuse_manifest("two factors are called " + factor.name);
    const int cell = manifest.latent_downscale * manifest.backbone_downscale;
    if (factor.height % cell != 0 || factor.width % cell != 0)
      refuse_manifest("the size of factor " + factor.name + " is not divisible by " +
                      std::to_string(cell));
    if (!factor.is_image && !manifest.files.contains(factor.palette))
      refuse_manifest("factor " + factor.name + " names the palette \"" + factor.palette +
                      "\", which is not in \"files\"");
  }
  if (!manifest.preview_decoder.empty())
    manifest.graph(manifest.preview_decoder);
  for (const auto& graph :
       {manifest.text_encoder, manifest.vae_decoder, manifest.vae_encoder, manifest.backbone})
    manifest.graph(graph);
}

}  // namespace fgdm
