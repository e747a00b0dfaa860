#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "context_cache.hpp"
#include "factor_run.hpp"
#include "fgdm/bundle.hpp"
#include "fgdm/error.hpp"
#include "fgdm/recall.hpp"
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
  void begin_factor(std::uint32_t index);
  void begin_wave();
  void begin_objects(const Palette& palette, const FactorTexts& texts);
  RowBuffer initial_latents(int candidate) const;
  std::vector<float> control_image(const ConditioningSpec& network) const;

  void give_up(const Trajectory& spoiled);
  BackendError not_finite(const std::string& what) const;
  void tell(const std::vector<Trajectory*>& trajectories);
  void compare();
  void end_wave();
  void end_maps();
  void paint();

  // Rows of decoded pictures: the first one's place among all, their number, and where they are.
  using UsePictures = std::function<void(std::size_t, std::size_t, const RowBuffer&)>;
  void decode(const std::string& decoder, const std::vector<const RowBuffer*>& latents,
              const UsePictures& use);
  RowBuffer decoded(const std::string& decoder, std::span<const RowBuffer* const> latents);
  Pixels picture(const std::string& decoder, const RowBuffer& latents);
  // A candidate that was looked at, and what its map holds.
  struct Judged {
    Candidate candidate;
    MapRecall recall;
  };
  std::vector<Judged> judge(const std::string& decoder, bool predicted);
  Judged measured(const Trajectory& trajectory, std::vector<std::uint8_t> labels,
                  std::vector<std::uint8_t> rgb) const;
  bool has_won(const MapRecall& map) const;
  void let_go(const Trajectory& trajectory, Judged judged);
  const std::string& preview_decoder() const;
  int barrier() const;

  const Bundle& bundle_;
  const Manifest& manifest_;
  Graphs& graphs_;
  ContextCache& contexts_;
  std::shared_ptr<JobState> job_;
  const Request& request_;
  std::int64_t number_;
  int decode_rows_;

  // The map that was kept of a condition factor.
  struct ChosenMap {
    const Palette* palette;
    FactorSize size;
    std::vector<std::uint8_t> labels;  // snapped: every pixel has a class
  };

  std::unique_ptr<FactorRun> run_;
  // A candidate that waits until another one, which seems to have won, is finished.
  struct SetAside {
    std::unique_ptr<Trajectory> trajectory;
    Judged seen;
  };

  std::vector<std::unique_ptr<Trajectory>> alive_;
  std::vector<SetAside> aside_;
  std::vector<Judged> judged_;    // candidates that go no further
  std::vector<int> checkpoints_;  // map steps after which candidates are compared
  std::size_t next_checkpoint_ = 0;
  std::size_t resume_at_ = 0;                // the next checkpoint of those that are set aside
  int next_candidate_ = 0;                   // the first one that isn't sampled yet
  std::vector<int> requested_;               // classes
  std::map<std::string, ChosenMap> chosen_;  // by factor
  std::int64_t rows_saved_ = 0, candidates_failed_ = 0;
  Result result_;
  Timings timings_;
  JobState::Clock::time_point began_ = JobState::Clock::now();
  double sessions_before_;  // seconds that sessions had worked when this began
};

}  // namespace fgdm
