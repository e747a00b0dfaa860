#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "fgdm/api.h"
#include "fgdm/guidance.hpp"
#include "fgdm/sampler.hpp"
#include "fgdm/tensor.hpp"

namespace fgdm {

// The manifest schemas this version reads: the newest is what it writes. Schema 2 has factors that
// make labels only, and adapters that see their factor's own latent only.
inline constexpr int manifest_schema = 3, oldest_manifest_schema = 2;

// A residual input of the backbone: its channels, and how much smaller than the latent it is.
struct FGDM_API ResidualSpec {
  std::int64_t channels;
  std::int64_t stride;
};

// The outer levels of the shared backbone as a graph of its own, over features that the backbone
// made of the levels below in an earlier step (DeepCache, Ma et al., CVPR 2024).
struct FGDM_API ShallowBackbone {
  std::string graph;
  ResidualSpec features;
};

// The name of what the shared backbone makes, and a shallow one takes, of what lies below so many
// outer levels.
FGDM_API std::string deep_features(int level);

// Of `interval` steps the first goes through the whole backbone, and the others through its outer
// `level` levels alone, without conditioning networks. 1: all go through the whole.
struct FGDM_API CacheConfig {
  int interval = 1;
  int level = 1;
};

// What a conditioning network looks at. An adapter sees latents in every step: its factor's own
// noisy one, or those of earlier factors; a ControlNet sees its factor's, the text and a control
// image in every step; a T2I-Adapter sees a control image once.
enum class Conditioning { adapter, controlnet, t2i_adapter };

// The name a manifest uses for a kind of network, such as "t2i_adapter"; "" for what is no
// enumerator.
FGDM_API std::string_view conditioning_name(Conditioning kind);

// One conditioning network of a factor; what several of them add to the backbone is summed.
struct FGDM_API ConditioningSpec {
  Conditioning kind;
  std::string graph;
  // Adapter only: the factors whose latents it sees, concatenated along the channels; its factor's
  // own name stands for the noisy latent.
  std::vector<std::string> latents;
  std::string hint_graph;  // ControlNet only
  // ControlNet and T2I-Adapter: the factor whose chosen map is the control image, or the name of an
  // image that the request brings.
  std::string condition;
  std::string hint_palette;  // file of the palette the network was trained on; "" = the map's
  std::map<std::string, std::string> recolor;  // class of the map to class of hint_palette
  double scale = 1.0;                          // unless the request says otherwise

  bool sees_image() const { return kind != Conditioning::adapter; }
};

// What a condition factor makes: a label map, which recall can measure, or a picture of a kind.
enum class FactorOutput { labels, depth, normal, sketch, pose };

// The name a manifest uses for an output; "" for what is no enumerator.
FGDM_API std::string_view output_name(FactorOutput output);

// One factor of the chain, P(map or image given the prompt and earlier maps).
struct FGDM_API FactorSpec {
  std::string name;
  bool is_image;                               // the last factor; the others are conditions
  bool optional = false;                       // left out, unless the request names it
  FactorOutput output = FactorOutput::labels;  // of a condition factor
  bool black_lines = false;  // of a sketch: black on white, otherwise white on black
  // The graph of a backbone of the factor's own; "" = the one that factors share.
  std::string own_backbone;
  // The factors whose latents that backbone sees, concatenated along the channels; the factor's own
  // name stands for the noisy latent, which is among them. The shared backbone sees that one alone.
  std::vector<std::string> latents;
  std::vector<ConditioningSpec> conditionings;
  int height, width;  // pixels
  int num_inference_steps;
  SamplerKind sampler = SamplerKind::ddim;
  std::optional<TimestepSpacing> timestep_spacing;  // unset: the schedule's for the sampler
  GuidanceConfig guidance;
  CacheConfig cache;
  double stop_at_recall = 0.0, min_area = 0.002;  // condition factors: as in Request
  int wave = 0;                                   // the same; it counts where maps stop at a recall
  std::string prompt_prefix, prompt_suffix;       // put around the request's prompt
  std::string palette;  // of a factor that makes labels: file of the palette

  bool makes_labels() const { return !is_image && output == FactorOutput::labels; }
};

// The output of a backbone that says from where each token of the text is looked at: (B, T, h, w),
// the mean over the heads and layers of one level of its encoder and decoder.
inline constexpr const char* attention_maps = "attention_maps";

struct FGDM_API GraphSpec {
  std::string file;
  std::vector<TensorSpec> inputs, outputs;
  // Of a backbone that makes attention_maps, how much smaller than the latent they are; 0: it makes
  // none.
  int attention_stride = 0;

  // By its name; null if it has none of that name.
  const TensorSpec* input(std::string_view name) const;
};

// What a graph that takes LoRAs has beside its other inputs: of all its layers that one of the
// bundle's LoRAs changes, the inputs one after another, (inputs, rank); their outputs, (outputs,
// rank); and the weight of each rank in each row, (rows, rank). The rank is that of all LoRAs in
// use together.
inline constexpr const char* lora_down = "lora_down";
inline constexpr const char* lora_up = "lora_up";
inline constexpr const char* lora_scale = "lora_scale";

// Whether an input's first dimension is the rows of a batch; the matrices of LoRAs are of all rows.
constexpr bool has_rows(std::string_view input) {
  return input != lora_down && input != lora_up;
}

// A LoRA (Hu et al. 2021, "LoRA: Low-Rank Adaptation") that requests weigh: what it adds to layers
// of the shared backbone and of the text encoder.
struct FGDM_API LoraSpec {
  std::string name;
  std::string file;                  // safetensors
  std::int64_t rank;                 // of all its layers
  std::vector<std::string> factors;  // that it changes
};

struct FGDM_API FileSpec {
  std::uint64_t size;
  std::string sha256;
};

// A bundle's manifest.json, complete and consistent: every graph, file and residual that it speaks
// of is described in it.
struct FGDM_API Manifest {
  std::string name;
  std::string precision;                // of the graphs, "fp32" or "fp16"
  std::string text_encoder, tokenizer;  // graph; folder
  int max_length, hidden_size;          // of the text encoder's embeddings
  std::string vae_decoder, vae_encoder;
  std::string preview_decoder;  // a tiny decoder for previews; "" = the bundle has none
  int latent_channels;
  int latent_downscale;    // pixels per latent cell
  std::string backbone;    // the shared one
  int backbone_downscale;  // of every backbone: latent height and width are divisible by this
  std::map<std::string, ResidualSpec> residuals;  // the shared backbone's residual inputs by name
  std::vector<ShallowBackbone> shallow;           // by their levels: one, two and so on
  NoiseSchedule schedule;
  std::vector<FactorSpec> factors;
  std::vector<LoraSpec> loras;
  std::map<std::string, GraphSpec> graphs;
  std::map<std::string, FileSpec> files;

  // Parses and checks a manifest. Throws BundleError that names the field, what it holds and what
  // was expected.
  static Manifest parse(std::string_view json);

  // The graph with this name. Throws BundleError if there is none.
  const GraphSpec& graph(const std::string& graph_name) const;

  // The residual input of the backbone with this name. Throws BundleError if there is none.
  const ResidualSpec& residual(const std::string& input) const;

  // The graph that predicts a factor's noise: its own backbone, or the shared one.
  const std::string& backbone_of(const FactorSpec& factor) const {
    return factor.own_backbone.empty() ? backbone : factor.own_backbone;
  }

  // The backbones of all factors, and the shallow ones, each once, by the graph's name.
  std::vector<std::string> backbones() const;

  // The graph of the outer levels, for steps that have no obstacle.
  const ShallowBackbone& shallow_of(const CacheConfig& cache) const {
    return shallow.at(static_cast<std::size_t>(cache.level) - 1);
  }

  // Why no step of a factor can go through so many outer levels alone; "" where it can.
  std::string cache_obstacle(const FactorSpec& factor, int level) const;

  // Whether a graph takes LoRAs.
  bool takes_loras(const std::string& graph_name) const;

  // The type of the text encoder's embeddings.
  DType context_dtype() const;

  // Whether a condition factor has this name.
  bool makes_map(const std::string& condition) const;
};

}  // namespace fgdm
