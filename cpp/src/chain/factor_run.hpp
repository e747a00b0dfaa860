#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "fgdm/manifest.hpp"
#include "graphs.hpp"
#include "loras.hpp"
#include "request.hpp"
#include "row_buffer.hpp"

namespace fgdm {

// The text encoder's output for one prompt: one row. Shared between whoever asked for that prompt.
using Embeddings = std::shared_ptr<const RowBuffer>;

// What a conditioning network makes of a control image once, for all steps: a ControlNet's hint
// features, or a T2I-Adapter's residuals. One row each, by tensor name.
using Hint = std::map<std::string, RowBuffer>;

// A latent that an adapter, or a backbone of a factor's own, sees.
struct SeenLatent {
  enum class Of { itself, group, earlier };
  Of of = Of::itself;
  std::size_t member = 0;             // of the group: a factor before it
  const RowBuffer* latent = nullptr;  // of an earlier factor; nullptr: it was left out, zeros
};

// The picture that a trajectory begins with instead of noise, and what of it stays.
struct StartPicture {
  std::vector<float> latents;      // (C, h, w)
  std::vector<float> noise;        // likewise; what it is noised by
  std::vector<std::uint8_t> anew;  // (h, w), not 0 where it is painted anew; empty: everywhere
  bool from_noise = false;         // begins as noise alone
};

// One edit of a run: a row beside those of its guidance.
struct EditRow {
  Embeddings text;
  float weight;                      // negative: away from it
  int from, to;                      // the steps that have it
  double threshold;                  // of strongest_cells()
  std::vector<std::uint8_t> within;  // (h, w); empty: all cells
  // The tokens whose attention confines it, among those of the text; 0: it isn't looked at.
  std::size_t first_token = 0, tokens = 0;
  bool acts(int step) const { return step >= from && step < to; }
};

// What all trajectories of one request have in common in one factor.
struct FactorRun {
  // Throws RequestError if the sampler has no such number of steps.
  FactorRun(const Manifest& manifest, const FactorSpec& factor, std::uint32_t index,
            const Request& resolved, Embeddings positive, Embeddings negative);

  // Steps count from 0, pure noise; a trajectory takes those from `first` up to `end`.
  int end() const { return static_cast<int>(sampler.timesteps().size()); }
  int num_steps() const { return end() - first; }
  GuidancePhase phase(int step) const { return phase_at(step, end(), guidance); }
  int rows(int step) const;  // of the backbone
  // Whether a step goes through the outer levels of the backbone alone, over what a step before it
  // kept of the others. Where guidance changes what its rows are, none of that fits.
  bool is_shallow(int step) const;
  // The graph that a step goes through, where that isn't the shared backbone; else "".
  const std::string& backbone(int step) const {
    return is_shallow(step) ? shallow->graph : factor.own_backbone;
  }
  // Backbone rows of a trajectory's steps from `first` up to `end`.
  std::int64_t rows(int begin, int end) const;

  const FactorSpec& factor;
  std::uint32_t index;  // of the factor in the chain
  FactorSize size;
  GuidanceConfig guidance;
  CacheConfig cache;
  const ShallowBackbone* shallow;  // nullptr: every step goes through the whole backbone
  std::uint64_t seed;              // of the noise of stochastic samplers
  int first;
  Sampler sampler;
  Embeddings positive, negative;
  std::vector<float> scales;  // one for each conditioning network
  LoraScales loras;
  // Likewise; empty for networks that see no control image, or a joint map.
  std::vector<Hint> hints;
  // Likewise: the place in the group of the factor whose map a network sees on its way.
  std::vector<std::optional<std::size_t>> joint_maps;
  // Likewise: whether it runs (not where what it would see was left out); the latents it sees.
  std::vector<bool> active;
  std::vector<std::vector<SeenLatent>> seen;
  std::vector<SeenLatent> backbone_sees;
  std::optional<StartPicture> start;
  const Editing* editing;  // nullptr: it is sampled as usual
  std::vector<EditRow> edits;

  // Whether it takes a picture back into noise; whether it finds remainders on the way.
  bool inverts() const { return editing != nullptr && !editing->inversion; }
  bool finds_remainders() const { return inverts() && editing->settings.eta == 1.0; }
  bool goes_back() const { return inverts() && editing->settings.eta == 0.0; }
  // Whether what no edit has acted on stays.
  bool keeps_unedited() const { return editing != nullptr && !inverts() && editing->keep; }
};

// One latent on its way from noise to a picture: a candidate of a condition factor, or the image.
struct Trajectory {
  Trajectory(const FactorRun& owner, int index, RowBuffer noise);

  // Backbone rows of the next step.
  int rows() const { return run->rows(step); }

  bool is_shallow() const { return run->is_shallow(step); }

  int steps_taken() const { return step - run->first; }

  // What a network makes of its control image.
  const Hint& hint(std::size_t network) const {
    return run->joint_maps[network] ? joint_hints[network] : run->hints[network];
  }

  const FactorRun* run;
  int candidate;
  int step;                         // the next
  RowBuffer latents, predicted_x0;  // a row each
  RowBuffer older_x0;               // of the step before the last, where the sampler looks at it
  std::vector<Hint> joint_hints;    // one for each network; empty for those that see no joint map
  // Of the last step through the whole backbone, by name: what a shallow one takes of it. Two rows,
  // the positive one first.
  std::map<std::string, RowBuffer> kept;
  std::vector<float> remainders;  // of its steps, where the run finds them
  // Of a run that goes back: the latents after each of its steps.
  std::vector<float> visited;
  // (h, w), not 0 where an edit may have changed something; empty before one has acted.
  std::vector<std::uint8_t> touched;
  bool is_finite = true;
  int passed_over = 0;                   // batches since it could have been in one; the scheduler's
  Timings timings;                       // its share of what its batches took
  std::vector<const Trajectory*> group;  // the candidate's, of all factors sampled together
};

// Zeros for `most_rows` rows of latents.
RowBuffer latent_buffer(const std::shared_ptr<Device>& device, const Manifest& manifest,
                        const FactorSize& size, std::size_t most_rows);

// Zeros for `most_rows` rows of features of a backbone, in the type of `tensor`.
RowBuffer feature_buffer(const std::shared_ptr<Device>& device, const ResidualSpec& features,
                         const TensorSpec& tensor, const FactorSize& size, std::size_t most_rows);

// The same for a residual, which `tensor` names too.
RowBuffer residual_buffer(const std::shared_ptr<Device>& device, const Manifest& manifest,
                          const TensorSpec& tensor, const FactorSize& size, std::size_t most_rows);

// A picture as a network sees it, `planes` (3, height, width): one row.
RowBuffer picture_row(const std::shared_ptr<Device>& device, const FactorSize& size,
                      std::span<const float> planes);

// Runs what a network does once with its control image, a row (3, height, width) in 0..1.
Hint encode_control_image(const Manifest& manifest, const ConditioningSpec& spec,
                          const FactorSize& size, float scale, const RowBuffer& picture,
                          Graphs& graphs, Timings& timings);

}  // namespace fgdm
