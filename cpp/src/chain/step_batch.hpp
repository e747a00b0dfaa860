#pragma once

#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "factor_run.hpp"
#include "loras.hpp"

namespace fgdm {

// One sampler step for rows of one backbone and resolution, whatever request, factor, phase or step
// they belong to: conditioning networks, backbone, guidance, sampler. A shallow backbone's rows
// have what their trajectories kept, in place of conditioning networks. Keeps its memory from batch
// to batch.
class StepBatch {
public:
  StepBatch(const Manifest& manifest, Graphs& graphs, Loras& loras)
      : manifest_(manifest), graphs_(graphs), loras_(loras) {}

  // Advances every trajectory by one step; all go through the same graph and have the same latent
  // size, also those of later calls, and none is done. If a
  // graph fails (BackendError, OutOfMemoryError), no trajectory has changed. A latent that comes
  // out not finite disturbs no other.
  void run(std::span<Trajectory* const> trajectories);

private:
  // A line of the batch. Within a segment, the rows that the same networks see, the positive rows
  // come first, then the negative rows with a text of their own and the rows of edits, then
  // negative rows with the positive text (segmentation-free), so that each network computes what is
  // distinct in one call, in place.
  struct Row {
    Trajectory* trajectory;
    std::size_t positive;  // the row of the same trajectory with the positive prompt
    GuidancePhase phase;
    bool negative;
    const EditRow* edit = nullptr;

    bool is_positive() const { return !negative && edit == nullptr; }
  };
  struct Segment {
    const FactorSpec* factor;
    std::vector<bool> active;  // its networks that run
    std::size_t first, positives, distinct, count;
  };

  void place(std::span<Trajectory* const> trajectories);
  const std::string& graph() const;
  void reserve(std::size_t rows, const FactorSize& size);
  void fill_inputs();
  // What a graph sees in rows [first, first + count) of the latents that `seen_in` has for a run.
  using SeenIn = std::function<const std::vector<SeenLatent>&(const FactorRun&)>;
  TensorView seen_latents(const std::string& graph, std::size_t first, std::size_t count,
                          const SeenIn& seen_in);
  std::size_t providers(const Segment& segment, const std::string& input) const;
  void run_network(const Segment& segment, std::size_t network);
  void run_networks(const Segment& segment);
  void keep_features();
  void recall_features();
  bool looks_at_attention() const;
  void run_backbone();
  void add_loras(std::vector<NamedTensor>& inputs);
  void guide_and_step();
  StepCoefficients place_history(const Trajectory& trajectory, std::size_t row);
  void add_noise(std::size_t row);
  void add_remainder(std::size_t row);
  StepRow guided_row(std::size_t row);
  // Books a network call's seconds on the trajectories of rows [first, first + count).
  void charge(const std::string& stage, double seconds, std::size_t first, std::size_t count);
  RowBuffer& target(const Segment& segment, std::size_t network, const TensorSpec& output);

  const Manifest& manifest_;
  Graphs& graphs_;
  Loras& loras_;
  FactorSize size_{};
  std::size_t capacity_ = 0;
  std::vector<Row> rows_;
  std::vector<Segment> segments_;
  // sample_ and x0_ become the latents and the predicted clean latents after the step.
  RowBuffer sample_, x0_, step_noise_, timestep_, embeddings_, attn_scale_, argmax_mask_, noise_,
      conditioning_scale_;
  std::map<std::string, RowBuffer> residuals_;  // the backbone's, by input
  std::map<std::string, RowBuffer> deep_;       // features that it makes or takes, by name
  // What one of several networks adds to the same residual; a ControlNet's hints and the latents
  // that an adapter or a backbone sees, by graph.
  std::map<std::string, RowBuffer> terms_, hints_, seen_;
  // The backbone's attention maps, once an edit has looked at them.
  std::optional<RowBuffer> attention_;
  // Whose residuals a row of `residuals_` holds: the factor, and its networks that ran.
  std::vector<std::pair<const FactorSpec*, std::vector<bool>>> residuals_of_;
};

}  // namespace fgdm
