#pragma once

#include <functional>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "conditioning.hpp"
#include "fgdm/engine.hpp"
#include "graphs.hpp"
#include "request.hpp"
#include "row_buffer.hpp"

namespace fgdm {

// One factor's sampling loop over a group of candidates: conditioning networks, backbone, guidance,
// sampler step, until the latents are clean. Every factor runs through it.
class FactorLoop {
public:
  // `candidates` is the size of the group, whose latents are denoised together. `contexts` holds
  // two rows: the negative prompt's and the positive one's.
  FactorLoop(const Manifest& manifest, const FactorSpec& factor, const Request& resolved,
             int candidates, const RowBuffer& contexts, Graphs& graphs);

  // The networks that see a control image want it before run().
  std::span<ConditioningNetwork> networks() { return networks_; }

  // Denoises `latents` (candidates, C, h, w) in place. `after_step` is told of every step and may
  // throw to stop. Throws BackendError that names factor, step and row if a latent is not finite;
  // `first_candidate` is the index of the group's first row in the request.
  void run(std::span<float> latents, int first_candidate,
           const std::function<void(const StepInfo&)>& after_step, Timings& timings);

private:
  void start_phase(const GuidancePhase& phase);
  void run_backbone(Timings& timings);
  RowBuffer& residual(const TensorSpec& input);
  void check_finite(std::span<const float> latents, int first_candidate, int step) const;

  const Manifest& manifest_;
  const FactorSpec& factor_;
  Graphs& graphs_;
  const RowBuffer& contexts_;
  FactorSize size_;
  GuidanceConfig guidance_;
  Sampler sampler_;
  std::size_t most_rows_;
  std::vector<ConditioningNetwork> networks_;

  StepRows rows_;
  RowBuffer attn_scale_, argmax_mask_, noise_;
  std::map<std::string, RowBuffer> combined_;  // residuals that no network or several provide
};

}  // namespace fgdm
