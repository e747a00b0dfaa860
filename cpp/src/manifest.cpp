#include "fgdm/manifest.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <nlohmann/json.hpp>
#include <set>

#include "fgdm/error.hpp"
#include "files.hpp"
#include "roles.hpp"
#include "words.hpp"

namespace fgdm {
namespace {

using Json = nlohmann::json;

[[noreturn]] void fail(const std::string& what) {
  throw BundleError("manifest.json: " + excerpt(what, 500) +
                    "; export the bundle again, or fetch a fresh copy of it");
}

Json document_of(std::string_view json) {
  try {
    return parse_json(json);
  } catch (const BundleError& error) {
    fail(error.what());
  }
}

// A JSON value and the path that leads to it, for messages.
class Field {
public:
  Field(const Json& value, std::string path) : value_(value), path_(std::move(path)) {}

  Field operator[](const std::string& key) const {
    if (!value_.is_object())
      fail(where() + " should be an object");
    const auto found = value_.find(key);
    if (found == value_.end())
      fail(where() + " lacks \"" + key + "\"");
    return {*found, path_.empty() ? key : path_ + "." + key};
  }

  bool has(const std::string& key) const {
    return value_.is_object() && value_.contains(key) && !value_.at(key).is_null();
  }

  std::string text() const {
    if (!value_.is_string())
      fail(where() + " should be text, not " + shown());
    if (!is_plain(value_.get_ref<const std::string&>()))
      fail(where() + " has a control character or a change of direction: " + shown());
    return value_.get<std::string>();
  }

  std::string text_or(const std::string& key, const std::string& otherwise) const {
    return has(key) ? (*this)[key].text() : otherwise;
  }

  std::int64_t integer(std::int64_t least, std::int64_t most) const {
    if (!value_.is_number_integer())
      fail(where() + " should be a whole number, not " + shown());
    const bool too_large = value_.is_number_unsigned() &&
                           value_.get<std::uint64_t>() > static_cast<std::uint64_t>(most);
    const auto number = too_large ? most : value_.get<std::int64_t>();
    if (too_large || number < least || number > most)
      fail(where() + " is " + shown() + ", expected " + std::to_string(least) + " to " +
           std::to_string(most));
    return number;
  }

  int small(int least, int most) const { return static_cast<int>(integer(least, most)); }

  double number(double least, double most) const {
    if (!value_.is_number())
      fail(where() + " should be a number, not " + shown());
    const auto number = value_.get<double>();
    if (!(number >= least && number <= most))
      fail(where() + " is " + shown() + ", expected " + std::to_string(least) + " to " +
           std::to_string(most));
    return number;
  }

  std::vector<Field> items() const {
    if (!value_.is_array())
      fail(where() + " should be a list");
    std::vector<Field> all;
    for (std::size_t i = 0; i < value_.size(); ++i)
      all.emplace_back(value_[i], path_ + "[" + std::to_string(i) + "]");
    return all;
  }

  std::vector<std::pair<std::string, Field>> entries() const {
    if (!value_.is_object())
      fail(where() + " should be an object");
    std::vector<std::pair<std::string, Field>> all;
    for (const auto& [key, value] : value_.items()) {
      if (key.empty() || !is_plain(key))
        fail(where() + " has the key " + Json(key).dump(-1, ' ', true) +
             ", which is empty or has a control character");
      all.emplace_back(key, Field(value, path_ + "." + key));
    }
    return all;
  }

  bool flag() const {
    if (!value_.is_boolean())
      fail(where() + " should be true or false, not " + shown());
    return value_.get<bool>();
  }

  bool is_integer() const { return value_.is_number_integer(); }
  bool is_object() const { return value_.is_object(); }
  std::string where() const { return path_.empty() ? "the file" : path_; }
  std::string shown() const {
    auto text = value_.dump(-1, ' ', true, Json::error_handler_t::replace);
    return text.size() > 60 ? text.substr(0, 57) + "..." : text;
  }

private:
  const Json& value_;
  std::string path_;
};

using ConditioningName = std::pair<Conditioning, std::string_view>;

constexpr std::array<ConditioningName, 3> conditioning_names{
    {{Conditioning::adapter, "adapter"},
     {Conditioning::controlnet, "controlnet"},
     {Conditioning::t2i_adapter, "t2i_adapter"}}};

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
  for (std::size_t begin = 0; begin <= path.size();) {
    const auto end = std::min(path.find('/', begin), path.size());
    const auto part = path.substr(begin, end - begin);
    if (part.empty() || part == "." || part == "..")
      fail("the file name \"" + path + "\" does not stay inside the bundle");
    begin = end + 1;
  }
  return path;
}

std::string digest(const Field& field) {
  const auto text = field.text();
  if (text.size() != 64 || text.find_first_not_of("0123456789abcdef") != std::string::npos)
    fail(field.where() + " is " + field.shown() + ", expected 64 lower-case hexadecimal digits");
  return text;
}

GuidanceConfig guidance(const Field& factor) {
  GuidanceConfig config;
  const auto kind = factor["guidance"].text();
  if (kind != "cfg" && kind != "segfree")
    fail(factor.where() + ".guidance is \"" + kind + "\", expected \"cfg\" or \"segfree\"");
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
    fail(factor.where() + ".sampler is \"" + name + "\", expected \"ddim\" or \"dpmsolver++\"");
  return *kind;
}

TimestepSpacing spacing(const Field& field) {
  const auto found = timestep_spacing(field.text());
  if (!found)
    fail(field.where() + " is " + field.shown() +
         ", expected \"leading\", \"trailing\" or \"linspace\"");
  return *found;
}

NoiseSchedule noise_schedule(const Field& field) {
  NoiseSchedule schedule;
  schedule.num_train_timesteps = field["num_train_timesteps"].small(1, 100'000);
  if (field.has("trained_betas")) {
    for (const auto& beta : field["trained_betas"].items())
      schedule.trained_betas.push_back(beta.number(0, 1));
    if (schedule.trained_betas.empty())
      fail(field.where() + ".trained_betas is empty, expected one value a training timestep");
  } else {
    schedule.beta_start = field["beta_start"].number(0, 1);
    schedule.beta_end = field["beta_end"].number(0, 1);
    schedule.beta_schedule = field["beta_schedule"].text();
  }
  // One name for every sampler, or a name for each.
  const auto spacings = field["timestep_spacing"];
  const bool by_sampler = spacings.is_object();
  schedule.ddim_spacing = spacing(by_sampler ? spacings["ddim"] : spacings);
  schedule.dpmsolver_spacing = spacing(by_sampler ? spacings["dpmsolver++"] : spacings);
  schedule.steps_offset = field["steps_offset"].small(0, 1000);
  schedule.set_alpha_to_one = field.has("set_alpha_to_one") && field["set_alpha_to_one"].flag();
  if (const auto kind = field["prediction_type"].text(); kind != "epsilon")
    fail("prediction_type is \"" + kind + "\"; this version runs \"epsilon\" models");
  alphas_cumprod(schedule);  // throws BundleError for an impossible schedule
  return schedule;
}

ConditioningSpec conditioning(const Field& field) {
  ConditioningSpec spec;
  const auto kind = field["kind"].text();
  const auto* known = std::ranges::find(conditioning_names, kind, &ConditioningName::second);
  if (known == conditioning_names.end())
    fail(field.where() + ".kind is \"" + kind +
         "\", expected \"adapter\", \"controlnet\" or \"t2i_adapter\"");
  spec.kind = known->first;
  spec.graph = field["graph"].text();
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

FactorSpec factor(const Field& field) {
  FactorSpec spec;
  spec.name = field["name"].text();
  const auto kind = field["kind"].text();
  if (kind != "condition" && kind != "image")
    fail(field.where() + ".kind is \"" + kind + "\", expected \"condition\" or \"image\"");
  spec.is_image = kind == "image";
  for (const auto& item : field["conditionings"].items())
    spec.conditionings.push_back(conditioning(item));
  if (!spec.is_image) {
    spec.palette = field["palette"].text();
    for (const auto& [key, target] :
         {std::pair("stop_at_recall", &spec.stop_at_recall), std::pair("min_area", &spec.min_area)})
      if (field.has(key))
        *target = field[key].number(0, 1);
  }
  spec.height = field["height"].small(8, 16384);
  spec.width = field["width"].small(8, 16384);
  spec.num_inference_steps = field["num_inference_steps"].small(1, 1000);
  spec.sampler = sampler(field);
  spec.guidance = guidance(field);
  spec.prompt_prefix = field.text_or("prompt_prefix", "");
  spec.prompt_suffix = field.text_or("prompt_suffix", "");
  return spec;
}

// Chains that this version runs: maps first, each painted by adapters or from earlier maps, and one
// image, painted from maps and the request's own images.
void check_order(const std::vector<FactorSpec>& factors) {
  if (factors.empty() || !factors.back().is_image)
    fail("factors should end with one of kind \"image\"");
  if (factors.size() < 2)
    fail("factors has only the image \"" + factors.back().name +
         "\"; this version runs chains of at least one factor of kind \"condition\" before it");
  for (const auto& factor : factors)
    if (factor.is_image != (&factor == &factors.back()))
      fail("only the last factor may be of kind \"image\", but " + factor.name + " is");
  for (const auto& spec : factors.back().conditionings)
    if (!spec.sees_image())
      fail("the factor " + factors.back().name + " of kind \"image\" has the adapter " +
           spec.graph +
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
    fail("factor " + factor.name + " needs the map of \"" + spec.condition +
         "\", which is no earlier factor");
  if (!spec.hint_palette.empty() && !manifest.files.contains(spec.hint_palette))
    fail("factor " + factor.name + " names " + spec.hint_palette + ", which is not in \"files\"");
}

void check_chain(const Manifest& manifest) {
  check_order(manifest.factors);
  for (const auto& [name, residual] : manifest.residuals)
    if (manifest.backbone_downscale % residual.stride != 0)
      fail("the stride of " + name + " is " + std::to_string(residual.stride) +
           ", expected a divisor of backbone.downscale, " +
           std::to_string(manifest.backbone_downscale));
  std::set<std::string> earlier;
  for (const auto& factor : manifest.factors) {
    for (const auto& spec : factor.conditionings)
      check_conditioning(manifest, factor, spec, earlier);
    if (!earlier.insert(factor.name).second)
      fail("two factors are called " + factor.name);
    const int cell = manifest.latent_downscale * manifest.backbone_downscale;
    if (factor.height % cell != 0 || factor.width % cell != 0)
      fail("the size of factor " + factor.name + " is not divisible by " + std::to_string(cell));
    if (!factor.is_image && !manifest.files.contains(factor.palette))
      fail("factor " + factor.name + " names the palette \"" + factor.palette +
           "\", which is not in \"files\"");
  }
  if (!manifest.preview_decoder.empty())
    manifest.graph(manifest.preview_decoder);
  for (const auto& graph :
       {manifest.text_encoder, manifest.vae_decoder, manifest.vae_encoder, manifest.backbone})
    manifest.graph(graph);
}

}  // namespace

std::string_view conditioning_name(Conditioning kind) {
  return std::ranges::find(conditioning_names, kind, &ConditioningName::first)->second;
}

Manifest Manifest::parse(std::string_view json) {
  const Json document = document_of(json);
  const Field root(document, "");
  const auto schema = root["schema"].integer(0, 1'000'000);
  if (schema > manifest_schema)
    throw BundleError("manifest.json has schema " + std::to_string(schema) +
                      ", this version of fgdm reads up to " + std::to_string(manifest_schema) +
                      "; upgrade fgdm, or export the bundle with this version");
  if (schema != manifest_schema)
    fail("schema " + std::to_string(schema) + " does not exist");

  Manifest manifest;
  manifest.name = root["name"].text();
  for (const char* shown_only : {"created_by", "weights"})
    root[shown_only].text();
  manifest.precision = root["precision"].text();
  if (manifest.precision != "fp32" && manifest.precision != "fp16")
    fail("precision is \"" + manifest.precision + "\", expected \"fp32\" or \"fp16\"");
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
      fail("autoencoder.preview_decoder is empty, expected the name of a graph, or null");
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

  manifest.schedule = noise_schedule(root["scheduler"]);

  for (const auto& [file, entry] : root["files"].entries())
    manifest.files[inner_path(file)] = {
        static_cast<std::uint64_t>(entry["size"].integer(0, std::int64_t{1} << 50)),
        digest(entry["sha256"])};
  for (const auto& [graph_name, entry] : root["graphs"].entries()) {
    GraphSpec spec{inner_path(entry["file"].text()), tensors(entry["inputs"]),
                   tensors(entry["outputs"])};
    if (!manifest.files.contains(spec.file))
      fail("graph " + graph_name + " names " + spec.file + ", which is not in \"files\"");
    manifest.graphs.emplace(graph_name, std::move(spec));
  }
  for (const auto& item : root["factors"].items())
    manifest.factors.push_back(factor(item));
  check_chain(manifest);
  check_roles(manifest);
  return manifest;
}

const GraphSpec& Manifest::graph(const std::string& graph_name) const {
  const auto found = graphs.find(graph_name);
  if (found == graphs.end())
    fail("it names the graph \"" + graph_name + "\" but describes none");
  return found->second;
}

const ResidualSpec& Manifest::residual(const std::string& input) const {
  const auto found = residuals.find(input);
  if (found == residuals.end())
    fail("the backbone has no residual input \"" + input + "\"");
  return found->second;
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
