#include "factor_loop.hpp"

#include <algorithm>
#include <cmath>

#include "fgdm/error.hpp"
#include "fgdm/guidance.hpp"

namespace fgdm {
namespace {

std::size_t product(std::span<const std::int64_t> shape) {
  std::size_t count = 1;
  for (const auto extent : shape)
    count *= static_cast<std::size_t>(extent);
  return count;
}

bool provides(const GraphSpec& graph, const std::string& output) {
  return std::ranges::any_of(graph.outputs,
                             [&](const TensorSpec& spec) { return spec.name == output; });
}

// Copies `block` behind itself until it fills `data`.
void repeat(std::vector<float>& data, std::size_t block) {
  for (std::size_t at = block; at + block <= data.size(); at += block)
    std::copy_n(data.begin(), block, data.begin() + static_cast<std::ptrdiff_t>(at));
}

}  // namespace

FactorLoop::FactorLoop(const Manifest& manifest, const FactorSpec& factor, const Request& resolved,
                       int candidates, Contexts contexts, Graphs& graphs)
    : manifest_(manifest), factor_(factor), graphs_(graphs), contexts_(contexts),
      size_(factor_size(resolved, manifest, factor)), guidance_(factor_guidance(resolved, factor)),
      sampler_(resolved.sampler, manifest.schedule, factor_steps(resolved, factor)),
      candidates_(static_cast<std::size_t>(candidates)), elements_(0),
      context_elements_(contexts.positive.size()),
      conditioning_scale_(static_cast<float>(resolved.controlnet_conditioning_scale)),
      latent_shape_{manifest.latent_channels, size_.latent_height, size_.latent_width},
      context_shape_{manifest.max_length, manifest.hidden_size} {
  const std::size_t most_rows = 2 * candidates_;
  elements_ = product(latent_shape_);
  sample_.resize(most_rows * elements_);
  noise_.resize(most_rows * elements_);
  timestep_.resize(most_rows);
  attn_scale_.resize(most_rows);
  scale_.assign(most_rows, conditioning_scale_);
  context_.resize(most_rows * context_elements_);
  // The default mask leaves out token 0 (BOS) and nothing else (segmentation-free paper, eq. 9).
  argmax_mask_.assign(most_rows * static_cast<std::size_t>(manifest.max_length), 1);
  for (std::size_t row = 0; row < most_rows; ++row)
    argmax_mask_[row * static_cast<std::size_t>(manifest.max_length)] = 0;
  for (std::size_t i = 0; i < manifest.intrablock_residuals.size(); ++i)
    add_residual("intrablock_residual_" + std::to_string(i), manifest.intrablock_residuals[i]);
  for (std::size_t i = 0; i < manifest.down_residuals.size(); ++i)
    add_residual("down_residual_" + std::to_string(i), manifest.down_residuals[i]);
  add_residual("mid_residual", manifest.mid_residual);
}

void FactorLoop::add_residual(std::string name, const ResidualSpec& spec) {
  std::vector<std::int64_t> shape{spec.channels, size_.latent_height / spec.stride,
                                  size_.latent_width / spec.stride};
  const auto count = 2 * candidates_ * product(shape);
  residuals_.push_back({std::move(name), std::move(shape), std::vector<float>(count, 0.0F)});
}

TensorView FactorLoop::rows_of(std::vector<float>& data, std::size_t rows,
                               std::vector<std::int64_t> row_shape) const {
  row_shape.insert(row_shape.begin(), static_cast<std::int64_t>(rows));
  return {DType::float32, std::move(row_shape), data.data()};
}

void FactorLoop::set_hint(std::span<const float> rgb, Timings& timings) {
  std::vector<float> picture(rgb.begin(), rgb.end());
  const auto& hint = manifest_.graph(factor_.hint_graph).outputs.front();
  const std::vector<std::int64_t> shape{hint.shape.at(1), size_.latent_height, size_.latent_width};
  hint_.resize(2 * candidates_ * product(shape));
  const NamedTensor input{"controlnet_cond", rows_of(picture, 1, {3, size_.height, size_.width})};
  const NamedTensor output{hint.name, rows_of(hint_, 1, shape)};
  graphs_.run(factor_.hint_graph, "hint", {&input, 1}, {&output, 1}, timings);
  repeat(hint_, product(shape));
}

void FactorLoop::start_phase(const GuidancePhase& phase) {
  const bool guided = phase.guidance_scale != 1.0F;
  rows_ = guided ? 2 * candidates_ : candidates_;
  // An adapter reads no text; in segmentation-free steps both halves carry the positive prompt.
  rows_alike_ = factor_.conditioning == Conditioning::adapter || phase.segfree || !guided;
  for (std::size_t row = 0; row < rows_; ++row) {
    const bool negative = guided && row < candidates_;
    const auto& context = negative && !phase.segfree ? contexts_.negative : contexts_.positive;
    std::ranges::copy(context,
                      context_.begin() + static_cast<std::ptrdiff_t>(row * context_elements_));
    attn_scale_[row] = negative ? phase.attn_scale_negative : 1.0F;
  }
}

void FactorLoop::run_conditioning(Timings& timings) {
  const auto rows = rows_alike_ ? candidates_ : rows_;
  const auto& graph = manifest_.graph(factor_.graph);
  std::vector<NamedTensor> inputs{{"sample", rows_of(sample_, rows, latent_shape_)},
                                  {"timestep", rows_of(timestep_, rows, {})}};
  if (factor_.conditioning == Conditioning::controlnet) {
    // Where rows are alike their text is the positive one, which the last rows hold.
    auto context = rows_of(context_, rows, context_shape_);
    context.data = context_.data() + (rows_ - rows) * context_elements_;
    const auto& hint = manifest_.graph(factor_.hint_graph).outputs.front();
    inputs.push_back({"encoder_hidden_states", std::move(context)});
    inputs.push_back(
        {"hint",
         rows_of(hint_, rows, {hint.shape.at(1), size_.latent_height, size_.latent_width})});
    inputs.push_back({"conditioning_scale", rows_of(scale_, rows, {})});
  }
  std::vector<NamedTensor> outputs;
  for (auto& residual : residuals_)
    if (provides(graph, residual.name))
      outputs.push_back({residual.name, rows_of(residual.data, rows, residual.shape)});
  const bool adapter = factor_.conditioning == Conditioning::adapter;
  graphs_.run(factor_.graph, adapter ? "adapter" : "controlnet", inputs, outputs, timings);
  if (rows < rows_)
    for (auto& residual : residuals_)
      if (provides(graph, residual.name))
        repeat(residual.data, rows * product(residual.shape));
}

void FactorLoop::run_backbone(Timings& timings) {
  std::vector<NamedTensor> inputs{
      {"sample", rows_of(sample_, rows_, latent_shape_)},
      {"timestep", rows_of(timestep_, rows_, {})},
      {"encoder_hidden_states", rows_of(context_, rows_, context_shape_)},
      {"attn_scale", rows_of(attn_scale_, rows_, {})},
      {"argmax_mask",
       {DType::boolean,
        {static_cast<std::int64_t>(rows_), manifest_.max_length},
        argmax_mask_.data()}}};
  for (auto& residual : residuals_)
    inputs.push_back({residual.name, rows_of(residual.data, rows_, residual.shape)});
  const NamedTensor output{"noise_pred", rows_of(noise_, rows_, latent_shape_)};
  graphs_.run(manifest_.backbone, "backbone", inputs, {&output, 1}, timings);
}

void FactorLoop::check_finite(std::span<const float> latents, int first_candidate, int step) const {
  for (std::size_t i = 0; i < latents.size(); ++i)
    if (!std::isfinite(latents[i]))
      throw BackendError("factor " + factor_.name + ", step " + std::to_string(step) + ", row " +
                         std::to_string(static_cast<std::size_t>(first_candidate) + i / elements_) +
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
    for (std::size_t at = 0; at < rows_ * elements_; at += latents.size())
      std::ranges::copy(latents, sample_.begin() + static_cast<std::ptrdiff_t>(at));
    std::ranges::fill(timestep_, static_cast<float>(steps[static_cast<std::size_t>(step)]));

    run_conditioning(timings);
    run_backbone(timings);

    const std::span<const float> noise(noise_.data(), rows_ * elements_);
    std::span<const float> epsilon = noise.first(latents.size());
    if (rows_ > candidates_) {
      combine(noise.first(latents.size()), noise.last(latents.size()), phase.guidance_scale,
              guided);
      epsilon = guided;
    }
    sampler_.step(step, epsilon, latents, predicted_x0, history);
    check_finite(latents, first_candidate, step);
    after_step({factor_.name, step, num_steps, steps[static_cast<std::size_t>(step)],
                static_cast<int>(candidates_), manifest_.latent_channels, size_.latent_height,
                size_.latent_width, predicted_x0});
  }
}

}  // namespace fgdm
