#include "factor_start.hpp"

#include <algorithm>
#include <span>
#include <utility>

#include "device_inputs.hpp"
#include "editing.hpp"
#include "fgdm/noise.hpp"
#include "start_picture.hpp"

namespace fgdm {
namespace {

std::string latents_name(const FactorRun& run) {
  return "latents of factor " + run.factor.name;
}

}  // namespace

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

RowBuffer FactorStart::control_image(const ConditioningSpec& network,
                                     const FactorSize& size) const {
  const auto& device = graphs_.device();
  if (maps_.has(network.condition))
    return picture_row(device, size, maps_.control_image(network, size));
  const auto& there = request_.control_images_on_device;
  if (const auto found = there.find(network.condition); found != there.end())
    return planes_of(found->second, size, Levels::unit, device);
  return picture_row(device, size, planes_of(request_.control_images.at(network.condition).data));
}

// The picture that the factor begins with: the request's image, or a map that is refined.
void FactorStart::begin_start(FactorRun& run) const {
  const bool is_image = run.factor.is_image;
  if (is_image ? !has_image(request_) : !job_.maps.contains(run.factor.name))
    return;
  auto& start = run.start.emplace();
  start.latents = encoded_start(run).floats(1);
  if (!is_image || request_.mask.data.empty())
    return;
  start.anew = cells_of(request_.mask, run.size);
  start.noise = noise(run, 0);
  start.from_noise = *request_.strength == 1.0;
}

RowBuffer FactorStart::encoded_start(const FactorRun& run) const {
  auto& timings = timings_[run.factor.name];
  if (run.factor.is_image && request_.image_on_device)
    return encode_picture(
        manifest_, run.size,
        planes_of(request_.image_on_device, run.size, Levels::centred, graphs_.device()), graphs_,
        timings);
  const auto& rgb = run.factor.is_image ? request_.image.data : job_.maps.at(run.factor.name).rgb;
  return encode_picture(manifest_, run.size, rgb, graphs_, timings);
}

std::vector<float> FactorStart::noise(const FactorRun& run, int candidate) const {
  const auto elements = latent_elements(manifest_, run.size);
  if (const auto& there = factor_latents_on_device(request_, run.factor))
    return latents_of(latents_name(run), there, static_cast<std::size_t>(candidate), elements,
                      *graphs_.device());
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
  if (const auto& there = factor_latents_on_device(request_, run.factor); there && !run.start)
    return scaled_latents(latents_name(run), there, static_cast<std::size_t>(candidate),
                          run.sampler.initial_scale(), manifest_, run.size, graphs_.device());
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
