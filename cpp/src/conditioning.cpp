#include "conditioning.hpp"

#include <algorithm>

namespace fgdm {

RowBuffer residual_buffer(const Manifest& manifest, const TensorSpec& tensor,
                          const FactorSize& size, std::size_t most_rows) {
  const auto& layout = manifest.residual(tensor.name);
  return {tensor.dtype,
          {layout.channels, size.latent_height / layout.stride, size.latent_width / layout.stride},
          most_rows};
}

ConditioningNetwork::ConditioningNetwork(const Manifest& manifest, const ConditioningSpec& spec,
                                         const FactorSize& size, std::size_t most_rows, float scale,
                                         Graphs& graphs)
    : manifest_(manifest), spec_(spec), graphs_(graphs), size_(size), most_rows_(most_rows),
      stage_(conditioning_name(spec.kind)), scale_(DType::float32, {}, most_rows) {
  std::ranges::fill(scale_.floats(most_rows), scale);
  for (const auto& output : manifest.graph(spec.graph).outputs)
    residuals_.emplace(output.name, residual_buffer(manifest, output, size, most_rows));
}

void ConditioningNetwork::see(std::span<const float> rgb, Timings& timings) {
  RowBuffer picture(DType::float32, {3, size_.height, size_.width}, 1);
  std::ranges::copy(rgb, picture.floats(1).begin());
  std::vector<NamedTensor> inputs{{"controlnet_cond", picture.view(1)}};
  if (spec_.kind == Conditioning::t2i_adapter) {
    inputs.push_back({"conditioning_scale", scale_.view(1)});
    graphs_.run(spec_.graph, stage_, inputs, outputs(1), timings);
    repeat(1, most_rows_);
    return;
  }
  const auto& hint = manifest_.graph(spec_.hint_graph).outputs.front();
  hint_ = RowBuffer(hint.dtype, {hint.shape.at(1), size_.latent_height, size_.latent_width},
                    most_rows_);
  const NamedTensor output{hint.name, hint_.view(1)};
  graphs_.run(spec_.hint_graph, "hint", inputs, {&output, 1}, timings);
  hint_.repeat(1, most_rows_);
}

void ConditioningNetwork::run(StepRows& rows, Timings& timings) {
  if (spec_.kind == Conditioning::t2i_adapter)
    return;
  const bool reads_text = spec_.kind == Conditioning::controlnet;
  const auto distinct = reads_text && !rows.same_text ? rows.count : rows.candidates;
  std::vector<NamedTensor> inputs{{"sample", rows.sample.view(distinct)},
                                  {"timestep", rows.timestep.view(distinct)}};
  if (reads_text) {
    inputs.push_back({"encoder_hidden_states", rows.context.view(distinct)});
    inputs.push_back({"hint", hint_.view(distinct)});
    inputs.push_back({"conditioning_scale", scale_.view(distinct)});
  }
  graphs_.run(spec_.graph, stage_, inputs, outputs(distinct), timings);
  repeat(distinct, rows.count);
}

RowBuffer* ConditioningNetwork::residual(const std::string& name) {
  const auto found = residuals_.find(name);
  return found == residuals_.end() ? nullptr : &found->second;
}

std::vector<NamedTensor> ConditioningNetwork::outputs(std::size_t rows) {
  std::vector<NamedTensor> all;
  for (auto& [name, buffer] : residuals_)
    all.push_back({name, buffer.view(rows)});
  return all;
}

void ConditioningNetwork::repeat(std::size_t rows, std::size_t total) {
  for (auto& [name, buffer] : residuals_)
    buffer.repeat(rows, total);
}

}  // namespace fgdm
