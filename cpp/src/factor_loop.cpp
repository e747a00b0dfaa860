#include "factor_loop.hpp"

#include <algorithm>
#include <cmath>

#include "fgdm/error.hpp"
#include "fgdm/guidance.hpp"

namespace fgdm {

FactorLoop::FactorLoop(const Manifest& manifest, const FactorSpec& factor, const Request& resolved,
                       int candidates, const RowBuffer& contexts, Graphs& graphs)
    : manifest_(manifest), factor_(factor), graphs_(graphs), contexts_(contexts),
      size_(factor_size(resolved, manifest, factor)), guidance_(factor_guidance(resolved, factor)),
      sampler_(resolved.sampler, manifest.schedule, factor_steps(resolved, factor)),
      most_rows_(2 * static_cast<std::size_t>(candidates)) {
  const auto scales = conditioning_scales(resolved, factor);
  for (std::size_t i = 0; i < factor.conditionings.size(); ++i)
    networks_.emplace_back(manifest, factor.conditionings[i], size_, most_rows_, scales[i], graphs);

  const std::vector<std::int64_t> latent{manifest.latent_channels, size_.latent_height,
                                         size_.latent_width};
  rows_.candidates = static_cast<std::size_t>(candidates);
  rows_.sample = RowBuffer(DType::float32, latent, most_rows_);
  rows_.timestep = RowBuffer(DType::float32, {}, most_rows_);
  rows_.context =
      RowBuffer(manifest.context_dtype(), {manifest.max_length, manifest.hidden_size}, most_rows_);
  noise_ = RowBuffer(DType::float32, latent, most_rows_);
  attn_scale_ = RowBuffer(DType::float32, {}, most_rows_);
  // The default mask leaves out token 0 (BOS) and nothing else (segmentation-free paper, eq. 9).
  argmax_mask_ = RowBuffer(DType::boolean, {manifest.max_length}, most_rows_);
  auto* mask = static_cast<std::uint8_t*>(argmax_mask_.view(most_rows_).data);
  const auto length = static_cast<std::size_t>(manifest.max_length);
  for (std::size_t i = 0; i < most_rows_ * length; ++i)
    mask[i] = i % length == 0 ? 0 : 1;
}

void FactorLoop::start_phase(const GuidancePhase& phase) {
  const bool guided = phase.guidance_scale != 1.0F;
  rows_.count = guided ? most_rows_ : rows_.candidates;
  rows_.same_text = phase.segfree || !guided;
  const auto attn_scale = attn_scale_.floats(rows_.count);
  for (std::size_t row = 0; row < rows_.count; ++row) {
    const bool negative = guided && row < rows_.candidates;
    rows_.context.copy_row(contexts_, negative && !phase.segfree ? 0 : 1, row);
    attn_scale[row] = negative ? phase.attn_scale_negative : 1.0F;
  }
}

// The backbone's residual input: what one network made of it, without a copy; the sum, if several
// did; zeros, if none did.
RowBuffer& FactorLoop::residual(const TensorSpec& input) {
  std::vector<RowBuffer*> made;
  for (auto& network : networks_)
    if (auto* provided = network.residual(input.name))
      made.push_back(provided);
  if (made.size() == 1)
    return *made.front();
  auto found = combined_.find(input.name);
  if (found == combined_.end())
    found =
        combined_.emplace(input.name, residual_buffer(manifest_, input, size_, most_rows_)).first;
  if (!made.empty())
    found->second.sum(made, rows_.count);
  return found->second;
}

void FactorLoop::run_backbone(Timings& timings) {
  const auto count = rows_.count;
  std::vector<NamedTensor> inputs{{"sample", rows_.sample.view(count)},
                                  {"timestep", rows_.timestep.view(count)},
                                  {"encoder_hidden_states", rows_.context.view(count)},
                                  {"attn_scale", attn_scale_.view(count)},
                                  {"argmax_mask", argmax_mask_.view(count)}};
  for (const auto& input : manifest_.graph(manifest_.backbone).inputs)
    if (manifest_.residuals.contains(input.name))
      inputs.push_back({input.name, residual(input).view(count)});
  const NamedTensor output{"noise_pred", noise_.view(count)};
  graphs_.run(manifest_.backbone, "backbone", inputs, {&output, 1}, timings);
}

void FactorLoop::check_finite(std::span<const float> latents, int first_candidate, int step) const {
  const auto elements = latents.size() / rows_.candidates;
  for (std::size_t i = 0; i < latents.size(); ++i)
    if (!std::isfinite(latents[i]))
      throw BackendError("factor " + factor_.name + ", step " + std::to_string(step) + ", row " +
                         std::to_string(static_cast<std::size_t>(first_candidate) + i / elements) +
                         ": the latent is not finite; a lower guidance scale, or precision "
                         "\"fp32\", usually helps");
}

void FactorLoop::run(std::span<float> latents, int first_candidate,
                     const std::function<void(const StepInfo&)>& after_step, Timings& timings) {
  const auto steps = sampler_.timesteps();
  const int num_steps = static_cast<int>(steps.size());
  std::vector<float> predicted_x0(latents.size());
  std::vector<float> history(sampler_.uses_history() ? latents.size() : 0);
  std::vector<float> guided(latents.size());
  std::optional<bool> segfree;
  for (int step = 0; step < num_steps; ++step) {
    const auto phase = phase_at(step, num_steps, guidance_);
    if (segfree != phase.segfree)
      start_phase(phase);
    segfree = phase.segfree;
    const int timestep = steps[static_cast<std::size_t>(step)];
    std::ranges::copy(latents, rows_.sample.floats(rows_.candidates).begin());
    rows_.sample.repeat(rows_.candidates, rows_.count);
    std::ranges::fill(rows_.timestep.floats(rows_.count), static_cast<float>(timestep));

    for (auto& network : networks_)
      network.run(rows_, timings);
    run_backbone(timings);

    const std::span<const float> noise = noise_.floats(rows_.count);
    std::span<const float> epsilon = noise.first(latents.size());
    if (rows_.count > rows_.candidates) {
      combine(noise.first(latents.size()), noise.last(latents.size()), phase.guidance_scale,
              guided);
      epsilon = guided;
    }
    sampler_.step(step, epsilon, latents, predicted_x0, history);
    check_finite(latents, first_candidate, step);
    after_step({factor_.name,
                step,
                num_steps,
                timestep,
                static_cast<int>(rows_.candidates),
                manifest_.latent_channels,
                size_.latent_height,
                size_.latent_width,
                predicted_x0,
                {}});
  }
}

}  // namespace fgdm
