#include "fgdm/manifest.hpp"

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>

#include "chain_rules.hpp"
#include "fgdm/error.hpp"
#include "file_tree.hpp"
#include "manifest_field.hpp"
#include "roles.hpp"

namespace fgdm {
namespace {

using Json = nlohmann::json;
using Field = ManifestField;

Json document_of(std::string_view json) {
  try {
    return parse_json(json);
  } catch (const BundleError& error) {
    refuse_manifest(error.what());
  }
}

using ConditioningName = std::pair<Conditioning, std::string_view>;

constexpr std::array<ConditioningName, 3> conditioning_names{
    {{Conditioning::adapter, "adapter"},
     {Conditioning::controlnet, "controlnet"},
     {Conditioning::t2i_adapter, "t2i_adapter"}}};

using OutputName = std::pair<FactorOutput, std::string_view>;

constexpr std::array<OutputName, 5> output_names{{{FactorOutput::labels, "labels"},
                                                  {FactorOutput::depth, "depth"},
                                                  {FactorOutput::normal, "normal"},
                                                  {FactorOutput::sketch, "sketch"},
                                                  {FactorOutput::pose, "pose"}}};

constexpr std::array<std::pair<Prediction, std::string_view>, 2> prediction_names{
    {{Prediction::epsilon, "epsilon"}, {Prediction::v, "v_prediction"}}};

// Those that a noise schedule has for all samplers.
constexpr std::array<std::pair<TimestepSpacing, std::string_view>, 3> timestep_spacings{
    {{TimestepSpacing::leading, "leading"},
     {TimestepSpacing::trailing, "trailing"},
     {TimestepSpacing::linspace, "linspace"}}};

// Whether a sketch's lines are black.
constexpr std::array<std::pair<bool, std::string_view>, 2> line_names{
    {{false, "white"}, {true, "black"}}};

// The enumerator that a field names, one of `names`.
template <typename Names> auto enumerator(const Field& field, const Names& names) {
  const auto text = field.text();
  const auto known = std::ranges::find(names, text, &Names::value_type::second);
  if (known == names.end()) {
    std::string expected;
    for (const auto& entry : names)
      expected += (expected.empty()        ? "\""
                   : entry == names.back() ? "\" or \""
                                           : "\", \"") +
                  std::string(entry.second);
    refuse_manifest(field.where() + " is " + field.shown() + ", expected " + expected + "\"");
  }
  return known->first;
}

template <typename Enumerator, typename Names>
std::string_view name_of(Enumerator value, const Names& names) {
  const auto found = std::ranges::find(names, value, &Names::value_type::first);
  return found == names.end() ? std::string_view() : found->second;
}

ResidualSpec residual_spec(const Field& field) {
  return {field["channels"].integer(1, 65536), field["stride"].integer(1, 1024)};
}

// A fixed size, or -1 for one that goes by a name.
std::int64_t extent_of(const Field& field) {
  if (field.is_integer())
    return field.integer(1, 1 << 24);
  field.text();
  return -1;
}

std::vector<TensorSpec> tensors(const Field& field) {
  std::vector<TensorSpec> all;
  for (const auto& item : field.items()) {
    TensorSpec spec;
    spec.name = item["name"].text();
    spec.dtype = dtype_from_name(item["dtype"].text());
    for (const auto& extent : item["shape"].items())
      spec.shape.push_back(extent_of(extent));
    all.push_back(std::move(spec));
  }
  return all;
}

// A path that stays inside the bundle, in its shortest form: the hash list must not make fgdm read
// elsewhere.
std::string inner_path(const std::string& path) {
  if (!is_inner_name(path))
    refuse_manifest("the file name \"" + path + "\" does not stay inside the bundle");
  return path;
}

GuidanceConfig guidance(const Field& factor) {
  GuidanceConfig config;
  const auto kind = factor["guidance"].choice({"cfg", "segfree"});
  config.kind = kind == "cfg" ? GuidanceKind::cfg : GuidanceKind::segfree;
  config.guidance_scale = static_cast<float>(factor["guidance_scale"].number(0, 1000));
  const auto optional = [&](const char* key, double otherwise, double most) {
    return factor.has(key) ? factor[key].number(0, most) : otherwise;
  };
  config.segfree_guidance_scale =
      static_cast<float>(optional("segfree_guidance_scale", config.segfree_guidance_scale, 1000));
  config.segfree_scale = static_cast<float>(optional("segfree_scale", config.segfree_scale, 1000));
  config.segfree_start = optional("segfree_start", config.segfree_start, 1);
  return config;
}

SamplerKind sampler(const Field& factor) {
  const auto name = factor.text_or("sampler", "ddim");
  const auto kind = sampler_kind(name);
  if (!kind)
    refuse_manifest(factor.where() + ".sampler is \"" + name + "\", expected " + sampler_names());
  return *kind;
}

TimestepSpacing spacing(const Field& field) {
  const auto found = timestep_spacing(field.text());
  if (!found)
    refuse_manifest(field.where() + " is " + field.shown() + ", expected " + spacing_names());
  return *found;
}

NoiseSchedule noise_schedule(const Field& field) {
  NoiseSchedule schedule;
  schedule.num_train_timesteps = field["num_train_timesteps"].small(1, 100'000);
  if (field.has("trained_betas")) {
    for (const auto& beta : field["trained_betas"].items())
      schedule.trained_betas.push_back(beta.number(0, 1));
    if (schedule.trained_betas.empty())
      refuse_manifest(field.where() +
                      ".trained_betas is empty, expected one value a training timestep");
  } else {
    schedule.beta_start = field["beta_start"].number(0, 1);
    schedule.beta_end = field["beta_end"].number(0, 1);
    schedule.beta_schedule = field["beta_schedule"].text();
  }
  // One name for every sampler, or a name for each.
  const auto spacings = field["timestep_spacing"];
  const bool by_sampler = spacings.is_object();
  schedule.ddim_spacing = enumerator(by_sampler ? spacings["ddim"] : spacings, timestep_spacings);
  schedule.dpmsolver_spacing =
      enumerator(by_sampler ? spacings["dpmsolver++"] : spacings, timestep_spacings);
  schedule.steps_offset = field["steps_offset"].small(0, 1000);
  schedule.set_alpha_to_one = field.has("set_alpha_to_one") && field["set_alpha_to_one"].flag();
  schedule.prediction = enumerator(field["prediction_type"], prediction_names);
  alphas_cumprod(schedule);  // throws BundleError for an impossible schedule
  return schedule;
}

// The factors whose latents a network of the factor `owner` sees: the noisy one, if it doesn't say.
std::vector<std::string> latents(const Field& network, const std::string& owner) {
  if (!network.has("latents"))
    return {owner};
  std::vector<std::string> names;
  for (const auto& item : network["latents"].items())
    names.push_back(item.text());
  return names;
}

ConditioningSpec conditioning(const Field& field, const std::string& owner) {
  ConditioningSpec spec;
  spec.kind = enumerator(field["kind"], conditioning_names);
  spec.graph = field["graph"].text();
  if (spec.kind == Conditioning::adapter)
    spec.latents = latents(field, owner);
  if (spec.kind == Conditioning::controlnet)
    spec.hint_graph = field["hint_graph"].text();
  if (spec.sees_image()) {
    spec.condition = field["condition"].text();
    spec.hint_palette = field.text_or("hint_palette", "");
    if (field.has("recolor"))
      for (const auto& [from, to] : field["recolor"].entries())
        spec.recolor.emplace(from, to.text());
    spec.scale = field.has("scale") ? field["scale"].number(0, 10) : 1.0;
  }
  return spec;
}

LoraSpec lora(const Field& field) {
  LoraSpec spec;
  spec.name = field["name"].text();
  if (spec.name.empty())
    refuse_manifest(field.where() + ".name is empty, expected what requests call it");
  spec.file = inner_path(field["file"].text());
  spec.rank = field["rank"].integer(1, 65536);
  for (const auto& item : field["factors"].items())
    spec.factors.push_back(item.text());
  return spec;
}

FactorSpec factor(const Field& field) {
  FactorSpec spec;
  spec.name = field["name"].text();
  spec.is_image = field["kind"].choice({"condition", "image"}) == "image";
  if (field.has("backbone")) {
    spec.own_backbone = field["backbone"].text();
    if (spec.own_backbone.empty())
      refuse_manifest(field.where() + ".backbone is empty, expected the name of a graph, or null");
  }
  if (spec.own_backbone.empty() && field.has("latents"))
    refuse_manifest(field.where() + " has latents, but no backbone of its own that could see them");
  spec.latents = latents(field, spec.name);
  for (const auto& item : field["conditionings"].items())
    spec.conditionings.push_back(conditioning(item, spec.name));
  spec.optional = !spec.is_image && field.has("optional") && field["optional"].flag();
  if (!spec.is_image && field.has("output"))
    spec.output = enumerator(field["output"], output_names);
  if (spec.output == FactorOutput::sketch && field.has("lines"))
    spec.black_lines = enumerator(field["lines"], line_names);
  if (spec.makes_labels()) {
    spec.palette = field["palette"].text();
    for (const auto& [key, target] :
         {std::pair("stop_at_recall", &spec.stop_at_recall), std::pair("min_area", &spec.min_area)})
      if (field.has(key))
        *target = field[key].number(0, 1);
    if (field.has("wave"))
      spec.wave = field["wave"].small(0, 1000);
  }
  spec.height = field["height"].small(8, 16384);
  spec.width = field["width"].small(8, 16384);
  spec.num_inference_steps = field["num_inference_steps"].small(1, 1000);
  spec.sampler = sampler(field);
  if (field.has("timestep_spacing"))
    spec.timestep_spacing = spacing(field["timestep_spacing"]);
  spec.guidance = guidance(field);
  if (field.has("cache_interval"))
    spec.cache.interval = field["cache_interval"].small(1, 1000);
  if (field.has("cache_level"))
    spec.cache.level = field["cache_level"].small(1, 16);
  spec.prompt_prefix = field.text_or("prompt_prefix", "");
  spec.prompt_suffix = field.text_or("prompt_suffix", "");
  return spec;
}

}  // namespace

std::string_view conditioning_name(Conditioning kind) {
  return name_of(kind, conditioning_names);
}

std::string_view output_name(FactorOutput output) {
  return name_of(output, output_names);
}

std::string deep_features(int level) {
  return "deep_features_" + std::to_string(level);
}

Manifest Manifest::parse(std::string_view json) {
  const Json document = document_of(json);
  const Field root(document, "");
  const auto schema = root["schema"].integer(0, 1'000'000);
  if (schema > manifest_schema)
    throw BundleError("manifest.json has schema " + std::to_string(schema) +
                      ", this version of fgdm reads up to " + std::to_string(manifest_schema) +
                      "; upgrade fgdm, or export the bundle with this version");
  if (schema < oldest_manifest_schema)
    refuse_manifest("schema " + std::to_string(schema) + " does not exist");

  Manifest manifest;
  manifest.name = root["name"].text();
  for (const char* shown_only : {"created_by", "weights"})
    root[shown_only].text();
  manifest.precision = root["precision"].choice({"fp32", "fp16"});
  const auto text = root["text_encoder"];
  manifest.text_encoder = text["graph"].text();
  manifest.tokenizer = inner_path(text["tokenizer"].text());
  manifest.max_length = text["max_length"].small(3, 4096);
  manifest.hidden_size = text["hidden_size"].small(1, 65536);
  const auto autoencoder = root["autoencoder"];
  manifest.vae_decoder = autoencoder["decoder"].text();
  manifest.vae_encoder = autoencoder["encoder"].text();
  if (autoencoder.has("preview_decoder")) {
    manifest.preview_decoder = autoencoder["preview_decoder"].text();
    if (manifest.preview_decoder.empty())
      refuse_manifest(
          "autoencoder.preview_decoder is empty, expected the name of a graph, or null");
  }
  manifest.latent_channels = autoencoder["latent_channels"].small(1, 256);
  manifest.latent_downscale = autoencoder["downscale"].small(1, 64);
  const auto backbone = root["backbone"];
  manifest.backbone = backbone["graph"].text();
  manifest.backbone_downscale = backbone["downscale"].small(1, 64);
  for (const std::string kind : {"intrablock_residual", "down_residual"}) {
    int number = 0;
    for (const auto& item : backbone[kind + "s"].items())
      manifest.residuals.emplace(kind + "_" + std::to_string(number++), residual_spec(item));
  }
  manifest.residuals.emplace("mid_residual", residual_spec(backbone["mid_residual"]));
  if (backbone.has("shallow"))
    for (const auto& item : backbone["shallow"].items())
      manifest.shallow.push_back({item["graph"].text(), residual_spec(item)});

  manifest.schedule = noise_schedule(root["scheduler"]);

  for (const auto& [file, entry] : root["files"].entries())
    manifest.files[inner_path(file)] = {
        static_cast<std::uint64_t>(entry["size"].integer(0, std::int64_t{1} << 50)),
        entry["sha256"].digest()};
  for (const auto& [graph_name, entry] : root["graphs"].entries()) {
    GraphSpec spec{inner_path(entry["file"].text()), tensors(entry["inputs"]),
                   tensors(entry["outputs"]),
                   entry.has("attention_stride") ? entry["attention_stride"].small(1, 1024) : 0};
    if (!manifest.files.contains(spec.file))
      refuse_manifest("graph " + graph_name + " names " + spec.file +
                      ", which is not in \"files\"");
    manifest.graphs.emplace(graph_name, std::move(spec));
  }
  for (const auto& item : root["factors"].items())
    manifest.factors.push_back(factor(item));
  if (root.has("loras"))
    for (const auto& item : root["loras"].items())
      manifest.loras.push_back(lora(item));
  check_chain(manifest);
  check_roles(manifest);
  if (root.has("segmenter")) {
    const auto segmenter = root["segmenter"].text();
    if (segmenter.empty())
      refuse_manifest("segmenter is empty, expected the name of a graph, or null");
    check_segmenter(manifest, segmenter);
  }
  return manifest;
}

const TensorSpec* GraphSpec::input(std::string_view name) const {
  const auto found = std::ranges::find(inputs, name, &TensorSpec::name);
  return found == inputs.end() ? nullptr : &*found;
}

const GraphSpec& Manifest::graph(const std::string& graph_name) const {
  const auto found = graphs.find(graph_name);
  if (found == graphs.end())
    refuse_manifest("it names the graph \"" + graph_name + "\" but describes none");
  return found->second;
}

const ResidualSpec& Manifest::residual(const std::string& input) const {
  const auto found = residuals.find(input);
  if (found == residuals.end())
    refuse_manifest("the backbone has no residual input \"" + input + "\"");
  return found->second;
}

std::vector<std::string> Manifest::backbones() const {
  std::vector<std::string> names;
  for (const auto& factor : factors)
    if (const auto& graph = backbone_of(factor); std::ranges::find(names, graph) == names.end())
      names.push_back(graph);
  for (const auto& entry : shallow)
    names.push_back(entry.graph);
  return names;
}

std::string Manifest::cache_obstacle(const FactorSpec& factor, int level) const {
  const auto levels = static_cast<int>(shallow.size());
  if (!factor.own_backbone.empty())
    return "factor " + factor.name + " has a backbone of its own, which caches nothing";
  if (levels == 0)
    return "this bundle has no shallow backbones";
  if (level > levels)
    return "this bundle has shallow backbones of 1 to " + std::to_string(levels) + " levels";
  return "";
}

bool Manifest::takes_loras(const std::string& graph_name) const {
  return graph(graph_name).input(lora_scale) != nullptr;
}

DType Manifest::context_dtype() const {
  return graph(text_encoder).outputs.front().dtype;
}

bool Manifest::makes_map(const std::string& condition) const {
  return std::ranges::any_of(factors, [&](const FactorSpec& factor) {
    return !factor.is_image && factor.name == condition;
  });
}

}  // namespace fgdm
