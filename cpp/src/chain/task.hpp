#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "context_cache.hpp"
#include "decoding.hpp"
#include "factor_run.hpp"
#include "fgdm/bundle.hpp"
#include "fgdm/error.hpp"
#include "fgdm/recall.hpp"
#include "fgdm/selection.hpp"
#include "job.hpp"

namespace fgdm {

// One request on its way through the chain: text, every factor in the manifest's order, selection
// by recall after each condition factor, and the picture. It says which latents wait for a step;
// the steps themselves are taken in batches, together with other requests'.
class Task {
public:
  // `decode_rows` is the most rows of one decoder call.
  Task(const Bundle& bundle, Graphs& graphs, ContextCache& contexts, std::shared_ptr<JobState> job,
       std::int64_t number, int decode_rows);

  JobState& job() const { return *job_; }
  std::int64_t number() const { return number_; }  // in the order requests came
  std::int64_t rows_saved() const { return rows_saved_; }
  std::int64_t candidates_failed() const { return candidates_failed_; }

  // Starts with the first factor.
  void begin();

  // Latents that can take a step. A candidate that has come to where candidates are compared waits
  // for the others. Empty only when the picture is done.
  std::vector<Trajectory*> ready() const;

  // Goes on with latents that have just taken a step. Throws what ends the request.
  void stepped(const std::vector<Trajectory*>& trajectories);

  bool done() const { return !run_; }

  // What the request asked for, once it is done. To be called once.
  Result result();

private:
  // A candidate that was looked at, and what its map holds.
  struct Measured {
    Candidate candidate;
    MapRecall recall;
  };
  // The map that was kept of a condition factor.
  struct ChosenMap {
    const Palette* palette;
    FactorSize size;
    std::vector<std::uint8_t> labels;  // snapped: every pixel has a class
  };

  void begin_factor(std::uint32_t index);
  void begin_objects(const Palette& palette, const FactorTexts& texts);
  SelectionRules rules() const;
  void begin_trajectories();
  RowBuffer initial_latents(int candidate) const;
  std::vector<float> control_image(const ConditioningSpec& network) const;

  void call_step_callback(const std::vector<Trajectory*>& trajectories);
  void compare();
  void choose();
  void paint();

  std::vector<MapRecall> measure_maps();
  Measured measured(const Trajectory& trajectory, std::vector<std::uint8_t> labels,
                    std::vector<std::uint8_t> rgb) const;
  void drop_failed(const Trajectory& failed);
  void end_candidate(int candidate);

  Pixels picture(const std::string& decoder, const RowBuffer& latents);
  const std::string& preview_decoder() const;
  BackendError not_finite(const std::string& what) const;

  const Bundle& bundle_;
  const Manifest& manifest_;
  Graphs& graphs_;
  ContextCache& contexts_;
  std::shared_ptr<JobState> job_;
  const Request& request_;
  std::int64_t number_;

  // Of the current factor.
  std::unique_ptr<FactorRun> run_;
  std::optional<Selection> selection_;
  std::map<int, std::unique_ptr<Trajectory>> trajectories_;  // by candidate, until it has ended
  std::map<int, Measured> measured_;                         // by candidate, the last time

  std::vector<int> requested_;               // classes
  std::map<std::string, ChosenMap> chosen_;  // by factor
  std::int64_t rows_saved_ = 0, candidates_failed_ = 0;
  Result result_;
  Timings timings_;
  Decoding decoding_;
  JobState::Clock::time_point began_ = JobState::Clock::now();
  double sessions_before_;  // seconds that sessions had worked when this began
};

}  // namespace fgdm
