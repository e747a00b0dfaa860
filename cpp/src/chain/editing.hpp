#pragma once

#include <span>
#include <vector>

#include "chosen_maps.hpp"
#include "factor_run.hpp"
#include "job.hpp"

namespace fgdm {

// The edits of a run, whose texts are these; `maps` are those of the request's earlier factors.
std::vector<EditRow> edit_rows(const FactorRun& run, const FactorTexts& texts,
                               const std::vector<Embeddings>& embeddings, const JobState& job,
                               const Bundle& bundle, const ChosenMaps& maps);

// What the latents of a run that inverts are before a step; after the last one, the picture's own.
std::vector<float> latents_before(const FactorRun& run, int step);

// What an edit's row predicts in a step.
struct EditPrediction {
  const EditRow* edit;
  std::vector<float> noise;              // (C, h, w)
  std::vector<std::uint8_t> attended{};  // (h, w), where its words are looked at; empty: not asked
};

// An edit's row, whose attention is (T, h / stride, w / stride); empty where it isn't looked at.
EditPrediction edit_prediction(const EditRow& edit, std::vector<float> noise,
                               std::span<const float> attention, const FactorSize& size,
                               int stride);

// Whether a step is so noisy that attention alone says where an edit acts which looks at it: the
// difference of predictions says little there (LEDITS++, in diffusers: above timestep 800 of 1000).
bool sees_only_attention(const FactorRun& run, int step, const NoiseSchedule& schedule);

// The prediction of a row with edits: its guidance, and each edit where it acts. `negative`: empty
// where the row isn't guided. `touched` (h, w) becomes 1 where an edit may have changed something.
std::vector<float> edited(std::span<const float> positive, std::span<const float> negative,
                          float guidance_scale, std::span<const EditPrediction> edits, int channels,
                          bool only_attention, std::vector<std::uint8_t>& touched);

// Books the latents of a run that goes back, after a step.
void remember_visited(Trajectory& trajectory);

// Puts the latents of the inversion back where no edit has acted, after a step.
void keep_unedited(Trajectory& trajectory);

// The pixels (height, width) that an edit may have changed: not 0 there.
std::vector<std::uint8_t> touched_pixels(const Trajectory& trajectory);

// Where `anew` (height, width) is 0, `picture`, of any number of channels, becomes `original`.
void put_back(std::span<const std::uint8_t> anew, std::span<const std::uint8_t> original,
              std::span<std::uint8_t> picture);

// What a trajectory that has taken all its steps has found.
std::shared_ptr<const Inversion> found_inversion(const Trajectory& trajectory, const JobState& job,
                                                 const Bundle& bundle);

}  // namespace fgdm
