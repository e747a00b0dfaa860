#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "fgdm/guidance.hpp"
#include "fgdm/sampler.hpp"
#include "fgdm/session.hpp"

namespace fgdm {

// The manifest schema this version writes and reads.
inline constexpr int manifest_schema = 1;

// A residual input of the backbone: its channels, and how much smaller than the latent it is.
struct ResidualSpec {
  std::int64_t channels;
  std::int64_t stride;
};

// How a factor's conditioning network is fed and what it adds to the backbone.
enum class Conditioning { adapter, controlnet };

// One factor of the chain, P(map or image given the prompt and earlier maps).
struct FactorSpec {
  std::string name;
  bool is_image;  // the last factor; the others are conditions
  Conditioning conditioning;
  std::string graph;       // the conditioning network
  std::string hint_graph;  // ControlNet only
  std::string condition;   // ControlNet only: the factor whose chosen map is the hint
  int height, width;       // pixels
  int num_inference_steps;
  GuidanceConfig guidance;
  std::string prompt_prefix, prompt_suffix;  // put around the request's prompt
  std::string palette;                       // condition factors: file of the label palette
  std::string hint_palette;  // ControlNet: file of the palette it was trained on; "" = the map's
};

struct GraphSpec {
  std::string file;
  std::vector<TensorSpec> inputs, outputs;
};

struct FileSpec {
  std::uint64_t size;
  std::string sha256;
};

// A bundle's manifest.json, complete and consistent: every graph, file and residual that it speaks
// of is described in it.
struct Manifest {
  std::string name;
  std::string text_encoder, tokenizer;  // graph; folder
  int max_length, hidden_size;          // of the text encoder's context
  std::string vae_decoder, vae_encoder;
  int latent_channels;
  int latent_downscale;  // pixels per latent cell
  std::string backbone;
  int backbone_downscale;  // latent height and width are divisible by this
  std::vector<ResidualSpec> intrablock_residuals, down_residuals;
  ResidualSpec mid_residual;
  NoiseSchedule schedule;
  std::vector<FactorSpec> factors;
  std::map<std::string, GraphSpec> graphs;
  std::map<std::string, FileSpec> files;

  // Parses and checks a manifest. Throws BundleError that names the field, what it holds and what
  // was expected.
  static Manifest parse(std::string_view json);

  // The input or output of a graph with this name. Throws BundleError if there is none.
  const GraphSpec& graph(const std::string& graph_name) const;
};

}  // namespace fgdm
