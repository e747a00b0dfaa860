#pragma once

#include <functional>
#include <span>
#include <string>
#include <vector>

#include "fgdm/engine.hpp"
#include "graphs.hpp"
#include "request.hpp"

namespace fgdm {

// Contexts of one request, one per text: (max_length, hidden_size) each.
struct Contexts {
  std::span<const float> negative, positive;
};

// One factor's sampling loop over a group of candidates: conditioning network, backbone, guidance,
// sampler step, until the latents are clean. Every factor runs through it.
//
// Rows of a backbone batch are ordered as diffusers orders them: the negative rows of all
// candidates, then their positive rows.
class FactorLoop {
public:
  // `candidates` is the size of the group, whose latents are denoised together.
  FactorLoop(const Manifest& manifest, const FactorSpec& factor, const Request& resolved,
             int candidates, Contexts contexts, Graphs& graphs);

  // Gives the map that a ControlNet factor paints: (3, height, width) in 0..1, for all candidates.
  void set_hint(std::span<const float> rgb, Timings& timings);

  // Denoises `latents` (candidates, C, h, w) in place. `after_step` is told of every step and may
  // throw to stop. Throws BackendError that names factor, step and row if a latent is not finite;
  // `first_candidate` is the index of the group's first row in the request.
  void run(std::span<float> latents, int first_candidate,
           const std::function<void(const StepInfo&)>& after_step, Timings& timings);

private:
  // A residual of the backbone: its buffer for all rows.
  struct Residual {
    std::string name;
    std::vector<std::int64_t> shape;  // of one row
    std::vector<float> data;
  };

  void add_residual(std::string name, const ResidualSpec& spec);
  void start_phase(const GuidancePhase& phase);
  void run_conditioning(Timings& timings);
  void run_backbone(Timings& timings);
  void check_finite(std::span<const float> latents, int first_candidate, int step) const;
  TensorView rows_of(std::vector<float>& data, std::size_t rows,
                     std::vector<std::int64_t> row_shape) const;

  const Manifest& manifest_;
  const FactorSpec& factor_;
  Graphs& graphs_;
  Contexts contexts_;
  FactorSize size_;
  GuidanceConfig guidance_;
  Sampler sampler_;
  std::size_t candidates_, elements_, context_elements_;
  float conditioning_scale_;

  std::size_t rows_ = 0;    // of the current phase: candidates, or twice that where guided
  bool rows_alike_ = true;  // the conditioning network sees the same in both halves
  std::vector<std::int64_t> latent_shape_, context_shape_;
  std::vector<float> sample_, timestep_, context_, attn_scale_, noise_, hint_, scale_;
  std::vector<std::uint8_t> argmax_mask_;
  std::vector<Residual> residuals_;
};

}  // namespace fgdm
