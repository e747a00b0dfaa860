#include "factor_start.hpp"

#include <algorithm>
#include <span>
#include <utility>

#include "editing.hpp"
#include "fgdm/noise.hpp"
#include "start_picture.hpp"

namespace fgdm {

std::unique_ptr<FactorRun> FactorStart::run(std::uint32_t index,
                                            const std::vector<std::uint32_t>& group,
                                            Embeddings positive, Embeddings negative) const {
  const auto& factor = manifest_.factors[index];
  auto run = std::make_unique<FactorRun>(manifest_, factor, index, request_, std::move(positive),
                                         std::move(negative));
  begin_networks(*run, group);
  begin_start(*run);
  return run;
}

// A factor's place in a group, if it is there.
std::optional<std::size_t> FactorStart::member_of(const std::vector<std::uint32_t>& group,
                                                  const std::string& factor) const {
  const auto found = std::ranges::find_if(
      group, [&](std::uint32_t index) { return manifest_.factors[index].name == factor; });
  if (found == group.end())
    return std::nullopt;
  return static_cast<std::size_t>(found - group.begin());
}

// The latents of the factors `names`, where a network of the run sees them.
std::vector<SeenLatent> FactorStart::seen_latents(const FactorRun& run,
                                                  const std::vector<std::string>& names,
                                                  const std::vector<std::uint32_t>& group) const {
  std::vector<SeenLatent> all;
  for (const auto& name : names) {
    const auto member = member_of(group, name);
    auto& seen = all.emplace_back();
    if (name == run.factor.name)
      seen.of = SeenLatent::Of::itself;
    else if (member)
      seen = {SeenLatent::Of::group, *member, nullptr};
    else
      seen = {SeenLatent::Of::earlier, 0,
              maps_.has(name) ? &maps_.latents(name, timings_[run.factor.name]) : nullptr};
  }
  return all;
}

// What the factor's networks see: control images, and the latents of earlier factors.
void FactorStart::begin_networks(FactorRun& run, const std::vector<std::uint32_t>& group) const {
  auto& timings = timings_[run.factor.name];
  run.backbone_sees = seen_latents(run, run.factor.latents, group);
  for (std::size_t i = 0; i < run.factor.conditionings.size(); ++i) {
    const auto& network = run.factor.conditionings[i];
    if (network.sees_image())
      run.joint_maps[i] = member_of(group, network.condition);
    if (network.sees_image() && !run.joint_maps[i]) {
      run.active[i] = maps_.has(network.condition) || !manifest_.makes_map(network.condition);
      if (run.active[i])
        run.hints[i] = encode_control_image(manifest_, network, run.size, run.scales[i],
                                            control_image(network, run.size), graphs_, timings);
    }
    run.seen[i] = seen_latents(run, network.latents, group);
  }
}

std::vector<float> FactorStart::control_image(const ConditioningSpec& network,
                                              const FactorSize& size) const {
  return maps_.has(network.condition)
             ? maps_.control_image(network, size)
             : planes_of(request_.control_images.at(network.condition).data);
}

// The picture that the factor begins with: the request's image, or a map that is refined.
void FactorStart::begin_start(FactorRun& run) const {
  const bool is_image = run.factor.is_image;
  const auto given = job_.maps.find(run.factor.name);
  if (is_image ? request_.image.data.empty() : given == job_.maps.end())
    return;
  const auto& rgb = is_image ? request_.image.data : given->second.rgb;
  auto& start = run.start.emplace();
  start.latents =
      encode_picture(manifest_, run.size, rgb, graphs_, timings_[run.factor.name]).floats(1);
  if (!is_image || request_.mask.data.empty())
    return;
  start.anew = cells_of(request_.mask, run.size);
  start.noise = noise(run, 0);
  start.from_noise = *request_.strength == 1.0;
}

std::vector<float> FactorStart::noise(const FactorRun& run, int candidate) const {
  const auto elements = latent_elements(manifest_, run.size);
  const auto& given = factor_latents(request_, run.factor);
  std::vector<float> values(elements);
  if (given.empty())
    normal_noise(*request_.seed, static_cast<std::uint32_t>(candidate), run.index, values);
  else
    std::ranges::copy(
        std::span(given).subspan(elements * static_cast<std::size_t>(candidate), elements),
        values.begin());
  return values;
}

RowBuffer FactorStart::latents(const FactorRun& run, int candidate) const {
  auto values = noise(run, candidate);
  if (run.finds_remainders())
    values = latents_before(run, run.first);
  else if (run.inverts())
    values = run.start->latents;
  else if (run.editing != nullptr)
    values = run.editing->inversion->latents;
  else if (run.start && !run.start->from_noise)
    values = noised(run.start->latents, values, run.sampler.level(run.first));
  else
    for (float& value : values)
      value *= run.sampler.initial_scale();
  auto latents = latent_buffer(graphs_.device(), manifest_, run.size, 1);
  latents.write(values);
  return latents;
}

}  // namespace fgdm
