#include "step_batch.hpp"

#include <algorithm>
#include <utility>

#include "editing.hpp"
#include "fgdm/noise.hpp"
#include "resize.hpp"

namespace fgdm {
namespace {

bool provides(const Manifest& manifest, const ConditioningSpec& network, const std::string& input) {
  return std::ranges::any_of(manifest.graph(network.graph).outputs,
                             [&](const TensorSpec& output) { return output.name == input; });
}

// Copies a latent into a part of a row, `bytes` from its beginning, in the size of `like`.
void place_latent(RowBuffer& rows, std::size_t row, std::size_t offset, const RowBuffer& latent,
                  const RowBuffer& like) {
  if (latent.row_shape() == like.row_shape()) {
    rows.copy_part(latent, row, offset);
    return;
  }
  const auto extent = [](const RowBuffer& buffer, std::size_t axis) {
    return static_cast<int>(buffer.row_shape().at(axis));
  };
  RowBuffer resized = like;
  std::vector<float> values(like.view(1).elements());
  resize_bilinear(latent.floats(1), extent(latent, 1), extent(latent, 2), values, extent(like, 1),
                  extent(like, 2));
  resized.write(values);
  rows.copy_part(resized, row, offset);
}

const RowBuffer* latent_of(const Trajectory& trajectory, const SeenLatent& seen) {
  switch (seen.of) {
  case SeenLatent::Of::itself:
    return &trajectory.latents;
  case SeenLatent::Of::group:
    return &trajectory.group.at(seen.member)->latents;
  case SeenLatent::Of::earlier:
    return seen.latent;
  }
  return nullptr;
}

}  // namespace

void StepBatch::run(std::span<Trajectory* const> trajectories) {
  place(trajectories);
  reserve(rows_.size(), trajectories.front()->run->size);
  fill_inputs();
  if (trajectories.front()->is_shallow()) {
    recall_features();
    run_backbone();
  } else {
    for (const auto& segment : segments_)
      run_networks(segment);
    run_backbone();
    keep_features();
  }
  guide_and_step();
}

// The backbone that the rows go through.
const std::string& StepBatch::graph() const {
  const auto& trajectory = *rows_.front().trajectory;
  const auto& graph = trajectory.run->backbone(trajectory.step);
  return graph.empty() ? manifest_.backbone : graph;
}

void StepBatch::place(std::span<Trajectory* const> trajectories) {
  rows_.clear();
  segments_.clear();
  std::vector<std::pair<const FactorSpec*, std::vector<bool>>> kinds;
  const auto kind_of = [](const Trajectory& trajectory) {
    return std::pair(&trajectory.run->factor, trajectory.run->active);
  };
  for (const auto* trajectory : trajectories)
    if (std::ranges::find(kinds, kind_of(*trajectory)) == kinds.end())
      kinds.push_back(kind_of(*trajectory));
  for (const auto& kind : kinds) {
    Segment segment{kind.first, kind.second, rows_.size(), 0, 0, 0};
    for (auto* trajectory : trajectories)
      if (kind_of(*trajectory) == kind)
        rows_.push_back(
            {trajectory, rows_.size(), trajectory->run->phase(trajectory->step), false});
    segment.positives = rows_.size() - segment.first;
    for (const bool segfree : {false, true}) {
      for (std::size_t row = segment.first; row < segment.first + segment.positives; ++row)
        if (rows_[row].phase.guided() && rows_[row].phase.segfree == segfree)
          rows_.push_back({rows_[row].trajectory, row, rows_[row].phase, true});
      if (segfree)
        continue;
      for (std::size_t row = segment.first; row < segment.first + segment.positives; ++row)
        for (const auto& edit : rows_[row].trajectory->run->edits)
          if (edit.acts(rows_[row].trajectory->step))
            rows_.push_back({rows_[row].trajectory, row, rows_[row].phase, false, &edit});
      segment.distinct = rows_.size() - segment.first;
    }
    segment.count = rows_.size() - segment.first;
    segments_.push_back(segment);
  }
}

void StepBatch::reserve(std::size_t rows, const FactorSize& size) {
  if (rows <= capacity_)
    return;
  size_ = size;
  capacity_ = 0;  // until all of it is there
  const auto& device = graphs_.device();
  sample_ = x0_ = noise_ = latent_buffer(device, manifest_, size, rows);
  step_noise_ = latent_buffer(device, manifest_, size, 1);
  timestep_ = attn_scale_ = conditioning_scale_ = RowBuffer(device, DType::float32, {}, rows);
  embeddings_ = RowBuffer(device, manifest_.context_dtype(),
                          {manifest_.max_length, manifest_.hidden_size}, rows);
  // The default mask leaves out token 0 (BOS) and nothing else (segmentation-free paper, eq. 9).
  argmax_mask_ = RowBuffer(device, DType::boolean, {manifest_.max_length}, rows);
  const auto length = static_cast<std::size_t>(manifest_.max_length);
  std::vector<std::uint8_t> mask(rows * length, 1);
  for (std::size_t row = 0; row < rows; ++row)
    mask[row * length] = 0;
  argmax_mask_.write(mask);
  terms_.clear();
  hints_.clear();
  seen_.clear();
  attention_.reset();
  residuals_.clear();
  deep_.clear();
  const auto& spec = manifest_.graph(graph());
  for (const auto& input : spec.inputs)
    if (manifest_.residuals.contains(input.name))
      residuals_.emplace(input.name, residual_buffer(device, manifest_, input, size, rows));
  for (std::size_t i = 0; i < manifest_.shallow.size(); ++i) {
    const auto name = deep_features(static_cast<int>(i) + 1);
    for (const auto* tensors : {&spec.inputs, &spec.outputs})
      for (const auto& tensor : *tensors)
        if (tensor.name == name)
          deep_.emplace(name,
                        feature_buffer(device, manifest_.shallow[i].features, tensor, size, rows));
  }
  residuals_of_.assign(rows, {});
  capacity_ = rows;
  device->trim();
}

void StepBatch::fill_inputs() {
  std::vector<float> timesteps, attn_scales;
  for (std::size_t i = 0; i < rows_.size(); ++i) {
    const auto& [trajectory, positive, phase, negative, edit] = rows_[i];
    const auto& run = *trajectory->run;
    sample_.copy_row(trajectory->latents, 0, i);
    const auto& text = edit != nullptr              ? edit->text
                       : negative && !phase.segfree ? run.negative
                                                    : run.positive;
    embeddings_.copy_row(*text, 0, i);
    timesteps.push_back(
        static_cast<float>(run.sampler.timesteps()[static_cast<std::size_t>(trajectory->step)]));
    attn_scales.push_back(negative ? phase.attn_scale_negative : 1.0F);
  }
  timestep_.write(timesteps);
  attn_scale_.write(attn_scales);
}

// How many of the segment's networks add to a residual.
std::size_t StepBatch::providers(const Segment& segment, const std::string& input) const {
  std::size_t count = 0;
  for (std::size_t network = 0; network < segment.active.size(); ++network)
    if (segment.active[network] &&
        provides(manifest_, segment.factor->conditionings[network], input))
      ++count;
  return count;
}

// Where a network writes a residual: into the backbone's own input if nobody else adds to it.
RowBuffer& StepBatch::target(const Segment& segment, std::size_t network,
                             const TensorSpec& output) {
  if (providers(segment, output.name) == 1)
    return residuals_.at(output.name);
  const auto key = std::to_string(network) + " " + output.name;
  auto found = terms_.find(key);
  if (found == terms_.end())
    found =
        terms_.emplace(key, residual_buffer(graphs_.device(), manifest_, output, size_, capacity_))
            .first;
  return found->second;
}

// Latents concatenated along their channels. Those of the rows' own alone are there already.
TensorView StepBatch::seen_latents(const std::string& graph, std::size_t first, std::size_t count,
                                   const SeenIn& seen_in) {
  const auto& like = seen_in(*rows_[first].trajectory->run);
  if (like.size() == 1 && like.front().of == SeenLatent::Of::itself)
    return sample_.view(count, first);
  auto found = seen_.find(graph);
  if (found == seen_.end()) {
    const auto channels = manifest_.latent_channels * static_cast<std::int64_t>(like.size());
    RowBuffer rows(graphs_.device(), DType::float32,
                   {channels, size_.latent_height, size_.latent_width}, capacity_);
    found = seen_.emplace(graph, std::move(rows)).first;
  }
  auto& input = found->second;
  for (std::size_t row = first; row < first + count; ++row) {
    const auto& trajectory = *rows_[row].trajectory;
    const auto& seen = seen_in(*trajectory.run);
    const auto bytes = trajectory.latents.view(1).elements() * sizeof(float);
    input.clear_row(row);
    for (std::size_t i = 0; i < seen.size(); ++i)
      if (const auto* latent = latent_of(trajectory, seen[i]))
        place_latent(input, row, i * bytes, *latent, trajectory.latents);
  }
  return input.view(count, first);
}

void StepBatch::run_network(const Segment& segment, std::size_t network) {
  const auto& spec = segment.factor->conditionings[network];
  const auto& outputs = manifest_.graph(spec.graph).outputs;
  const auto first = segment.first, end = segment.first + segment.count;
  if (spec.kind == Conditioning::t2i_adapter) {
    for (const auto& output : outputs)
      for (std::size_t row = first; row < end; ++row)
        target(segment, network, output)
            .copy_row(rows_[row].trajectory->hint(network).at(output.name), 0, row);
    return;
  }
  // An adapter sees latents and the timestep only, which both rows of a trajectory share.
  const bool reads_text = spec.kind == Conditioning::controlnet;
  const auto count = reads_text ? segment.distinct : segment.positives;
  const auto seen_in = [network](const FactorRun& run) -> const auto& { return run.seen[network]; };
  std::vector<NamedTensor> inputs{{"sample", reads_text
                                                 ? sample_.view(count, first)
                                                 : seen_latents(spec.graph, first, count, seen_in)},
                                  {"timestep", timestep_.view(count, first)}};
  if (reads_text) {
    const auto& features = manifest_.graph(spec.hint_graph).outputs.front();
    auto hint = hints_.find(spec.graph);
    if (hint == hints_.end())
      hint = hints_
                 .emplace(spec.graph,
                          RowBuffer(graphs_.device(), features.dtype,
                                    {features.shape.at(1), size_.latent_height, size_.latent_width},
                                    capacity_))
                 .first;
    std::vector<float> scales;
    for (std::size_t row = first; row < first + count; ++row) {
      const auto& trajectory = *rows_[row].trajectory;
      hint->second.copy_row(trajectory.hint(network).at(features.name), 0, row);
      scales.push_back(trajectory.run->scales[network]);
    }
    conditioning_scale_.write(scales, first);
    inputs.push_back({"encoder_hidden_states", embeddings_.view(count, first)});
    inputs.push_back({"hint", hint->second.view(count, first)});
    inputs.push_back({"conditioning_scale", conditioning_scale_.view(count, first)});
  }
  std::vector<NamedTensor> made;
  for (const auto& output : outputs)
    made.push_back({output.name, target(segment, network, output).view(count, first)});
  const std::string stage(conditioning_name(spec.kind));
  charge(stage, graphs_.run(spec.graph, stage, inputs, made), first, count);
  for (const auto& output : outputs) {
    auto& buffer = target(segment, network, output);
    for (std::size_t row = first + count; row < end; ++row)
      buffer.copy_row(buffer, rows_[row].positive, row);
  }
}

void StepBatch::run_networks(const Segment& segment) {
  const auto& networks = segment.factor->conditionings;
  const std::pair kind(segment.factor, segment.active);
  for (auto& [input, buffer] : residuals_)
    if (providers(segment, input) == 0)
      for (std::size_t row = segment.first; row < segment.first + segment.count; ++row)
        if (residuals_of_[row] != kind)
          buffer.clear_row(row);
  const auto filled_by = [&](const auto& by) {
    std::fill_n(residuals_of_.begin() + static_cast<std::ptrdiff_t>(segment.first), segment.count,
                by);
  };
  // A network that fails may have written to some of them.
  filled_by(decltype(residuals_of_)::value_type());
  for (std::size_t network = 0; network < networks.size(); ++network)
    if (segment.active[network])
      run_network(segment, network);
  for (auto& [input, buffer] : residuals_) {
    if (providers(segment, input) < 2)
      continue;
    std::vector<RowBuffer*> terms;
    for (std::size_t network = 0; network < networks.size(); ++network)
      if (segment.active[network] && provides(manifest_, networks[network], input))
        terms.push_back(&terms_.at(std::to_string(network) + " " + input));
    buffer.sum(terms, segment.count, segment.first);
  }
  filled_by(kind);
}

// For the steps that go through a shallow backbone next: what it takes of this one.
void StepBatch::keep_features() {
  for (std::size_t row = 0; row < rows_.size(); ++row) {
    auto& trajectory = *rows_[row].trajectory;
    if (trajectory.run->shallow == nullptr)
      continue;
    for (const auto& input : manifest_.graph(trajectory.run->shallow->graph).inputs)
      for (const auto* features : {&residuals_, &deep_}) {
        const auto made = features->find(input.name);
        if (made == features->end())
          continue;
        auto kept = trajectory.kept.find(input.name);
        if (kept == trajectory.kept.end()) {
          RowBuffer two(graphs_.device(), input.dtype, made->second.row_shape(), 2);
          kept = trajectory.kept.emplace(input.name, std::move(two)).first;
        }
        kept->second.copy_row(made->second, row, rows_[row].negative ? 1 : 0);
      }
  }
}

void StepBatch::recall_features() {
  for (auto* features : {&residuals_, &deep_})
    for (auto& [name, buffer] : *features)
      for (std::size_t row = 0; row < rows_.size(); ++row)
        buffer.copy_row(rows_[row].trajectory->kept.at(name), rows_[row].negative ? 1 : 0, row);
}

bool StepBatch::looks_at_attention() const {
  return std::ranges::any_of(
      rows_, [](const Row& row) { return row.edit != nullptr && row.edit->tokens > 0; });
}

void StepBatch::run_backbone() {
  const auto count = rows_.size();
  const auto& graph = this->graph();
  const auto seen_in = [](const FactorRun& run) -> const auto& { return run.backbone_sees; };
  std::vector<NamedTensor> inputs{{"sample", seen_latents(graph, 0, count, seen_in)},
                                  {"timestep", timestep_.view(count)},
                                  {"encoder_hidden_states", embeddings_.view(count)},
                                  {"attn_scale", attn_scale_.view(count)},
                                  {"argmax_mask", argmax_mask_.view(count)}};
  for (auto& [input, buffer] : residuals_)
    inputs.push_back({input, buffer.view(count)});
  add_loras(inputs);
  std::vector<NamedTensor> outputs{{"noise_pred", noise_.view(count)}};
  const bool takes_deep = rows_.front().trajectory->is_shallow();
  for (auto& [name, buffer] : deep_)
    (takes_deep ? inputs : outputs).push_back({name, buffer.view(count)});
  if (looks_at_attention()) {
    const int stride = manifest_.graph(graph).attention_stride;
    if (!attention_)
      attention_.emplace(graphs_.device(), DType::float32,
                         std::vector<std::int64_t>{manifest_.max_length,
                                                   size_.latent_height / stride,
                                                   size_.latent_width / stride},
                         capacity_);
    outputs.push_back({attention_maps, attention_->view(count)});
  }
  charge("backbone", graphs_.run(graph, "backbone", inputs, outputs), 0, count);
}

// Both rows of a trajectory have its LoRAs.
void StepBatch::add_loras(std::vector<NamedTensor>& inputs) {
  std::vector<const LoraScales*> scales;
  for (const auto& row : rows_)
    scales.push_back(&row.trajectory->run->loras);
  loras_.add_inputs(graph(), scales, inputs);
}

void StepBatch::charge(const std::string& stage, double seconds, std::size_t first,
                       std::size_t count) {
  for (std::size_t row = first; row < first + count; ++row)
    rows_[row].trajectory->timings.add(stage, seconds / static_cast<double>(count));
}

// Places the x0 of earlier steps that the next one takes. Where it takes two, their sum is made
// here, so that devices know of one.
StepCoefficients StepBatch::place_history(const Trajectory& trajectory, std::size_t row) {
  auto coefficients = trajectory.run->sampler.coefficients(trajectory.step);
  if (coefficients.older != 0.0F) {
    x0_.write(blended_history(coefficients, trajectory.predicted_x0.floats(1),
                              trajectory.older_x0.floats(1)),
              row);
    coefficients.history = 1.0F;
  } else if (coefficients.history != 0.0F) {
    x0_.copy_row(trajectory.predicted_x0, 0, row);
  }
  return coefficients;
}

// The noise of a stochastic sampler's step, which depends on the candidate and the step alone.
void StepBatch::add_noise(std::size_t row) {
  const auto& trajectory = *rows_[row].trajectory;
  const auto& run = *trajectory.run;
  if (run.editing != nullptr) {
    add_remainder(row);
    return;
  }
  const float scale = run.sampler.coefficients(trajectory.step).noise;
  if (scale == 0.0F)
    return;
  std::vector<float> noise(sample_.view(1).elements());
  normal_noise(run.seed, static_cast<std::uint32_t>(trajectory.candidate), run.index, noise,
               static_cast<std::uint32_t>(trajectory.step) + 1);
  for (float& value : noise)
    value *= scale;
  step_noise_.write(noise);
  graphs_.device()->add(DType::float32, sample_.data(row), step_noise_.data(), noise.size());
}

// In place of noise: what takes the row to its next latents. A run that inverts finds it.
void StepBatch::add_remainder(std::size_t row) {
  auto& trajectory = *rows_[row].trajectory;
  const auto& run = *trajectory.run;
  if (run.finds_remainders()) {
    auto sample = sample_.floats(1, row);
    const auto remainder = found_remainder(sample, latents_before(run, trajectory.step + 1));
    trajectory.remainders.insert(trajectory.remainders.end(), remainder.begin(), remainder.end());
    sample_.write(sample, row);
  } else if (!run.inverts() && !run.editing->inversion->remainders.empty()) {
    const auto elements = sample_.view(1).elements();
    const auto place = static_cast<std::size_t>(trajectory.steps_taken()) * elements;
    step_noise_.write(std::span(run.editing->inversion->remainders).subspan(place, elements));
    graphs_.device()->add(DType::float32, sample_.data(row), step_noise_.data(), elements);
  }
}

// How a positive row advances. With edits, its guidance is computed here, on the host, and takes
// the place of its prediction.
StepRow StepBatch::guided_row(std::size_t row) {
  StepRow step{static_cast<int>(row), -1, rows_[row].phase.guidance_scale,
               place_history(*rows_[row].trajectory, row)};
  std::vector<EditPrediction> edits;
  const auto& trajectory = *rows_[row].trajectory;
  for (std::size_t other = row + 1; other < rows_.size(); ++other)
    if (rows_[other].positive == row && rows_[other].negative) {
      step.negative = static_cast<int>(other);
    } else if (const auto* edit = rows_[other].edit;
               rows_[other].positive == row && edit != nullptr) {
      const auto attention = edit->tokens > 0 ? attention_->floats(1, other) : std::vector<float>();
      edits.push_back(edit_prediction(*edit, noise_.floats(1, other), attention, size_,
                                      manifest_.graph(graph()).attention_stride));
    }
  if (edits.empty())
    return step;
  std::vector<float> negative;
  if (step.negative >= 0)
    negative = noise_.floats(1, static_cast<std::size_t>(step.negative));
  noise_.write(edited(noise_.floats(1, row), negative, step.guidance_scale, edits,
                      manifest_.latent_channels,
                      sees_only_attention(*trajectory.run, trajectory.step, manifest_.schedule),
                      rows_[row].trajectory->touched),
               row);
  step.negative = -1;
  step.guidance_scale = 1.0F;
  return step;
}

void StepBatch::guide_and_step() {
  const auto elements = sample_.view(1).elements();
  std::vector<bool> finite;
  for (const auto& segment : segments_) {
    std::vector<StepRow> steps;
    for (std::size_t row = segment.first; row < segment.first + segment.positives; ++row)
      steps.push_back(guided_row(row));
    const auto made = graphs_.device()->guided_step(
        steps, elements, noise_.data(), sample_.data(segment.first), x0_.data(segment.first));
    finite.insert(finite.end(), made.begin(), made.end());
    for (std::size_t row = segment.first; row < segment.first + segment.positives; ++row)
      add_noise(row);
  }
  std::size_t advanced = 0;
  for (std::size_t row = 0; row < rows_.size(); ++row) {
    if (!rows_[row].is_positive())
      continue;
    auto& trajectory = *rows_[row].trajectory;
    trajectory.latents.copy_row(sample_, row, 0);
    if (trajectory.run->sampler.keeps_older())
      std::swap(trajectory.older_x0, trajectory.predicted_x0);
    trajectory.predicted_x0.copy_row(x0_, row, 0);
    trajectory.is_finite = finite[advanced++];
  }
  for (const auto& row : rows_)
    if (row.is_positive())
      ++row.trajectory->step;
}

}  // namespace fgdm
