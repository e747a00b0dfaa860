#include "roles.hpp"

#include <algorithm>
#include <optional>
#include <set>

#include "fgdm/error.hpp"
#include "wording.hpp"

namespace fgdm {
namespace {

// A tensor that a role has: its name, type and number of dimensions.
struct Part {
  std::string name;
  DType dtype;
  std::size_t rank;
};

[[noreturn]] void fail(const std::string& graph, const std::string& what) {
  throw BundleError("manifest.json: graph " + graph + " " + what +
                    "; export the bundle again, or with the version that made it");
}

std::string words(const std::string& name, DType dtype, std::size_t rank) {
  return "\"" + name + "\" (" + std::string(dtype_name(dtype)) + ", " + std::to_string(rank) +
         " dimensions)";
}

const TensorSpec* find(std::span<const TensorSpec> tensors, const std::string& name) {
  const auto found = std::ranges::find(tensors, name, &TensorSpec::name);
  return found == tensors.end() ? nullptr : &*found;
}

void check_unique(const std::string& graph, std::span<const TensorSpec> tensors) {
  std::set<std::string> names;
  for (const auto& tensor : tensors)
    if (!names.insert(tensor.name).second)
      fail(graph, "has two tensors called \"" + tensor.name + "\"");
}

// All of a role's parts are there and nothing else is. `what` is "input" or "output".
void check_parts(const std::string& graph, const std::string& what,
                 std::span<const TensorSpec> tensors, std::span<const Part> parts) {
  check_unique(graph, tensors);
  for (const auto& part : parts) {
    const auto* tensor = find(tensors, part.name);
    if (tensor == nullptr)
      fail(graph, "has no " + what + " " + words(part.name, part.dtype, part.rank) +
                      ", which its role needs");
    if (tensor->dtype != part.dtype || tensor->shape.size() != part.rank)
      fail(graph, "has the " + what + " " +
                      words(tensor->name, tensor->dtype, tensor->shape.size()) + ", expected " +
                      words(part.name, part.dtype, part.rank));
  }
  for (const auto& tensor : tensors)
    if (std::ranges::find(parts, tensor.name, &Part::name) == parts.end())
      fail(graph, "has the " + what + " \"" + tensor.name + "\", which its role doesn't know");
}

class Roles {
public:
  explicit Roles(const Manifest& manifest) : manifest_(manifest) {
    const auto& outputs = manifest.graph(manifest.text_encoder).outputs;
    if (const auto* embeddings = find(outputs, "encoder_hidden_states"))
      embedding_type_ = embeddings->dtype;
  }

  void check() const {
    Parts text{{"input_ids", DType::int64, 2}};
    add_loras(manifest_.text_encoder, text);
    check(manifest_.text_encoder, text, {{"encoder_hidden_states", embedding_type_, 3}});
    check(manifest_.vae_decoder, {latents()}, {picture("image")});
    check(manifest_.vae_encoder, {picture("image")}, {latents()});
    if (!manifest_.preview_decoder.empty())
      check(manifest_.preview_decoder, {latents()}, {picture("image")});
    check_backbone(manifest_.backbone, {}, levels());
    for (int level = 1; level <= levels(); ++level)
      check_backbone(manifest_.shallow[static_cast<std::size_t>(level) - 1].graph, level, 0);
    for (const auto& factor : manifest_.factors) {
      if (!factor.own_backbone.empty())
        check_own_backbone(factor);
      for (const auto& network : factor.conditionings)
        check_network(factor, network);
    }
  }

private:
  using Parts = std::vector<Part>;

  static Part latents() { return {"latents", DType::float32, 4}; }
  static Part picture(const char* name) { return {name, DType::float32, 4}; }

  void check(const std::string& graph, const Parts& inputs, const Parts& outputs) const {
    const auto& spec = manifest_.graph(graph);
    check_parts(graph, "input", spec.inputs, inputs);
    check_parts(graph, "output", spec.outputs, outputs);
  }

  int levels() const { return static_cast<int>(manifest_.shallow.size()); }

  // The shared backbone takes every residual; one of a factor's own, or a shallow one, those that
  // it has inputs for. A shallow one of `level` levels takes the deep features that the shared one
  // makes, for `made` levels.
  void check_backbone(const std::string& graph, std::optional<int> level = {}, int made = 0) const {
    Parts inputs{{"sample", DType::float32, 4},
                 {"timestep", DType::float32, 1},
                 {"encoder_hidden_states", embedding_type_, 3},
                 {"attn_scale", DType::float32, 1},
                 {"argmax_mask", DType::boolean, 2}};
    for (const auto& [name, residual] : manifest_.residuals)
      if (graph == manifest_.backbone || input_of(graph, name) != nullptr)
        inputs.push_back({name, residual_type(level ? manifest_.backbone : graph, name), 4});
    if (level)
      inputs.push_back({deep_features(*level), deep_type(*level), 4});
    if (graph == manifest_.backbone || level)
      add_loras(graph, inputs);
    if (level)
      check_shallow_loras(graph);
    Parts outputs{{"noise_pred", DType::float32, 4}};
    for (int i = 1; i <= made; ++i)
      outputs.push_back({deep_features(i), deep_type(i), 4});
    if (const int stride = manifest_.graph(graph).attention_stride; stride > 0) {
      if (manifest_.backbone_downscale % stride != 0)
        fail(graph, "has an attention_stride of " + shown(stride) + ", expected a divisor of " +
                        shown(manifest_.backbone_downscale) + ", the backbone's downscale");
      outputs.push_back({attention_maps, DType::float32, 4});
    }
    check(graph, inputs, outputs);
  }

  // What a graph takes of LoRAs, if it does.
  void add_loras(const std::string& graph, Parts& inputs) const {
    if (!manifest_.takes_loras(graph))
      return;
    if (manifest_.loras.empty())
      fail(graph, std::string("has the input \"") + lora_scale +
                      "\", but the bundle has no LoRAs (\"loras\")");
    for (const char* matrix : {lora_down, lora_up}) {
      const auto* input = input_of(graph, matrix);
      inputs.push_back({matrix, input == nullptr ? DType::float32 : input->dtype, 2});
      if (input != nullptr && (input->shape.empty() || input->shape.front() < 1))
        fail(graph, "has an input \"" + input->name + "\" without a fixed number of channels");
    }
    inputs.push_back({lora_scale, DType::float32, 2});
  }

  // A shallow backbone takes the very LoRAs that the whole one takes.
  void check_shallow_loras(const std::string& graph) const {
    for (const char* matrix : {lora_down, lora_up}) {
      const auto *own = input_of(graph, matrix), *whole = input_of(manifest_.backbone, matrix);
      const bool alike = own == nullptr || whole == nullptr
                             ? own == whole
                             : own->dtype == whole->dtype && own->shape == whole->shape;
      if (!alike)
        fail(graph, std::string("has the input \"") + matrix + "\" otherwise than " +
                        manifest_.backbone + ", whose LoRAs it shares");
    }
  }

  void check_own_backbone(const FactorSpec& factor) const {
    check_backbone(factor.own_backbone);
    if (input_of(factor.own_backbone, "sample")->shape[1] < 0)
      fail(factor.own_backbone, "has an input \"sample\" without a fixed number of channels");
    check_channels(factor.own_backbone, factor.latents);
  }

  void check_network(const FactorSpec& factor, const ConditioningSpec& network) const {
    Parts inputs;
    if (network.kind == Conditioning::t2i_adapter)
      inputs = {picture("controlnet_cond"), {"conditioning_scale", DType::float32, 1}};
    else
      inputs = {{"sample", DType::float32, 4}, {"timestep", DType::float32, 1}};
    if (network.kind == Conditioning::controlnet) {
      const auto hint = check_hint(network.hint_graph);
      inputs.push_back({"encoder_hidden_states", embedding_type_, 3});
      inputs.push_back({"hint", hint, 4});
      inputs.push_back({"conditioning_scale", DType::float32, 1});
    }
    if (network.kind == Conditioning::adapter)
      check_channels(network.graph, network.latents);
    const auto& outputs = manifest_.graph(network.graph).outputs;
    if (outputs.empty())
      fail(network.graph, "has no outputs, expected residuals of the backbone");
    const auto& backbone = manifest_.backbone_of(factor);
    Parts residuals;
    for (const auto& output : outputs) {
      if (!manifest_.residuals.contains(output.name) || input_of(backbone, output.name) == nullptr)
        fail(network.graph, "has the output \"" + output.name + "\", which is no residual of " +
                                backbone + ", the backbone of factor " + factor.name +
                                "; a backbone without such an input takes no conditioning network");
      residuals.push_back({output.name, residual_type(backbone, output.name), 4});
    }
    check(network.graph, inputs, residuals);
  }

  // A graph takes as many channels as the latents that it sees have together.
  void check_channels(const std::string& graph, const std::vector<std::string>& latents) const {
    const auto* sample = input_of(graph, "sample");
    if (sample == nullptr || sample->shape.size() != 4 || sample->shape[1] < 0)
      return;
    const auto expected = manifest_.latent_channels * static_cast<std::int64_t>(latents.size());
    if (sample->shape[1] != expected)
      fail(graph, "takes latents of " + std::to_string(sample->shape[1]) +
                      " channels, but those of " + shown(latents.size()) + " factor" +
                      (latents.size() == 1 ? " have " : "s have ") + std::to_string(expected));
  }

  // The type of what a ControlNet's hint encoder makes.
  DType check_hint(const std::string& graph) const {
    const auto* made = find(manifest_.graph(graph).outputs, "hint");
    const auto dtype = made == nullptr ? DType::float32 : made->dtype;
    check(graph, {picture("controlnet_cond")}, {{"hint", dtype, 4}});
    if (made->shape[1] < 1)
      fail(graph, "has a hint without a fixed number of channels");
    return dtype;
  }

  // Deep features are handed over as they are, too.
  DType deep_type(int level) const {
    const auto* made = find(manifest_.graph(manifest_.backbone).outputs, deep_features(level));
    return made == nullptr ? DType::float32 : made->dtype;
  }

  const TensorSpec* input_of(const std::string& graph, const std::string& name) const {
    return manifest_.graph(graph).input(name);
  }

  // Residuals are handed over as they are: networks make what the backbone takes.
  DType residual_type(const std::string& backbone, const std::string& name) const {
    const auto* input = input_of(backbone, name);
    return input == nullptr ? DType::float32 : input->dtype;
  }

  const Manifest& manifest_;
  DType embedding_type_ = DType::float32;
};

}  // namespace

void check_roles(const Manifest& manifest) {
  Roles(manifest).check();
}

void check_segmenter(const Manifest& manifest, const std::string& graph) {
  const auto& spec = manifest.graph(graph);
  const auto check_one = [&](const char* what, std::span<const TensorSpec> tensors,
                             const char* otherwise) {
    const Part part{tensors.empty() ? otherwise : tensors.front().name, DType::float32, 4};
    check_parts(graph, what, tensors, std::span(&part, 1));
  };
  check_one("input", spec.inputs, "image");
  check_one("output", spec.outputs, "scores");
}

void check_loaded(const std::string& graph, const GraphSpec& described,
                  std::span<const TensorSpec> inputs, std::span<const TensorSpec> outputs) {
  const auto compare = [&](const std::string& what, std::span<const TensorSpec> tensors,
                           std::span<const TensorSpec> expected) {
    for (const auto& tensor : tensors) {
      const auto* found = find(expected, tensor.name);
      if (found == nullptr)
        throw BundleError(described.file + " has the " + what + " \"" + tensor.name +
                          "\", which manifest.json doesn't have for graph " + graph +
                          "; export the bundle again");
      if (found->dtype != tensor.dtype || found->shape.size() != tensor.shape.size())
        throw BundleError(
            described.file + " has the " + what + " " +
            words(tensor.name, tensor.dtype, tensor.shape.size()) + ", manifest.json says " +
            words(found->name, found->dtype, found->shape.size()) + "; export the bundle again");
    }
  };
  compare("input", inputs, described.inputs);
  compare("output", outputs, described.outputs);
  for (const auto& expected : described.outputs)
    if (find(outputs, expected.name) == nullptr)
      throw BundleError(described.file + " has no output \"" + expected.name +
                        "\", which manifest.json has for graph " + graph +
                        "; export the bundle again");
}

}  // namespace fgdm
