#include "factor_run.hpp"

#include <algorithm>

#include "editing_options.hpp"

namespace fgdm {
namespace {

// Whether a factor's steps lead from a picture back to noise.
bool takes_back(const Request& resolved, const FactorSpec& factor) {
  return is_inverted(resolved, factor) && resolved.editing->settings.eta == 0.0;
}

Sampler sampler_of(const Request& resolved, const Manifest& manifest, const FactorSpec& factor) {
  const int steps = factor_steps(resolved, factor), first = factor_first_step(resolved, factor);
  const auto spacing = factor_spacing(resolved, factor);
  if (takes_back(resolved, factor))
    return Sampler::ddim_inverse(manifest.schedule, steps, first, spacing);
  const auto kind = factor_sampler(resolved, factor);
  const auto* editing = editing_of(resolved, factor);
  const double eta = editing != nullptr && kind == SamplerKind::ddim ? editing->settings.eta : 0.0;
  return {kind, manifest.schedule, steps, first, spacing, eta};
}

}  // namespace

FactorRun::FactorRun(const Manifest& manifest, const FactorSpec& spec, std::uint32_t factor_index,
                     const Request& resolved, Embeddings positive_text, Embeddings negative_text)
    : factor(spec), index(factor_index), size(factor_size(resolved, manifest, spec)),
      guidance(factor_guidance(resolved, spec)), cache(factor_cache(resolved, spec)),
      shallow(cache.interval > 1 ? &manifest.shallow_of(cache) : nullptr), seed(*resolved.seed),
      first(takes_back(resolved, spec) ? 0 : factor_first_step(resolved, spec)),
      sampler(sampler_of(resolved, manifest, spec)), positive(std::move(positive_text)),
      negative(std::move(negative_text)), scales(conditioning_scales(resolved, spec)),
      loras(factor_loras(resolved, manifest, spec)), hints(spec.conditionings.size()),
      joint_maps(spec.conditionings.size()), active(spec.conditionings.size(), true),
      backbone_sees(spec.latents.size()), editing(editing_of(resolved, spec)) {
  for (const auto& network : spec.conditionings)
    seen.emplace_back(network.latents.size());
}

Trajectory::Trajectory(const FactorRun& owner, int index, RowBuffer noise)
    : run(&owner), candidate(index), step(owner.first), latents(std::move(noise)),
      predicted_x0(latents), joint_hints(owner.factor.conditionings.size()) {
  if (owner.sampler.keeps_older())
    older_x0 = latents;
}

bool FactorRun::is_shallow(int step) const {
  if (shallow == nullptr || (step - first) % cache.interval == 0)
    return false;
  const auto now = phase(step), before = phase(step - 1);
  return now.rows() == before.rows() && now.segfree == before.segfree;
}

int FactorRun::rows(int step) const {
  const auto acting =
      std::ranges::count_if(edits, [&](const EditRow& row) { return row.acts(step); });
  return phase(step).rows() + static_cast<int>(acting);
}

std::int64_t FactorRun::rows(int begin, int end) const {
  std::int64_t sum = 0;
  for (int step = begin; step < end; ++step)
    sum += rows(step);
  return sum;
}

RowBuffer latent_buffer(const std::shared_ptr<Device>& device, const Manifest& manifest,
                        const FactorSize& size, std::size_t most_rows) {
  return {device,
          DType::float32,
          {manifest.latent_channels, size.latent_height, size.latent_width},
          most_rows};
}

RowBuffer feature_buffer(const std::shared_ptr<Device>& device, const ResidualSpec& features,
                         const TensorSpec& tensor, const FactorSize& size, std::size_t most_rows) {
  const auto [channels, stride] = features;
  return {device,
          tensor.dtype,
          {channels, size.latent_height / stride, size.latent_width / stride},
          most_rows};
}

RowBuffer residual_buffer(const std::shared_ptr<Device>& device, const Manifest& manifest,
                          const TensorSpec& tensor, const FactorSize& size, std::size_t most_rows) {
  return feature_buffer(device, manifest.residual(tensor.name), tensor, size, most_rows);
}

RowBuffer picture_row(const std::shared_ptr<Device>& device, const FactorSize& size,
                      std::span<const float> planes) {
  RowBuffer picture(device, DType::float32, {3, size.height, size.width}, 1);
  picture.write(planes);
  return picture;
}

Hint encode_control_image(const Manifest& manifest, const ConditioningSpec& spec,
                          const FactorSize& size, float scale, const RowBuffer& picture,
                          Graphs& graphs, Timings& timings) {
  const auto& device = graphs.device();
  std::vector<NamedTensor> inputs{{"controlnet_cond", picture.view(1)}};
  const bool is_adapter = spec.kind == Conditioning::t2i_adapter;
  if (is_adapter)
    inputs.push_back({"conditioning_scale", {DType::float32, {1}, &scale}});
  const auto& graph = is_adapter ? spec.graph : spec.hint_graph;

  Hint hint;
  std::vector<NamedTensor> outputs;
  for (const auto& output : manifest.graph(graph).outputs) {
    auto row = is_adapter
                   ? residual_buffer(device, manifest, output, size, 1)
                   : RowBuffer(device, output.dtype,
                               {output.shape.at(1), size.latent_height, size.latent_width}, 1);
    auto& placed = hint.emplace(output.name, std::move(row)).first->second;
    outputs.push_back({output.name, placed.view(1)});
  }
  const std::string stage(is_adapter ? conditioning_name(spec.kind) : "hint");
  timings.add(stage, graphs.run(graph, stage, inputs, outputs));
  return hint;
}

}  // namespace fgdm
