#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "chosen_maps.hpp"
#include "decoding.hpp"
#include "embedding_cache.hpp"
#include "fgdm/bundle.hpp"
#include "fgdm/error.hpp"
#include "fgdm/recall.hpp"
#include "fgdm/selection.hpp"
#include "group.hpp"
#include "job.hpp"
#include "joint_hints.hpp"
#include "measuring.hpp"
#include "request_result.hpp"

namespace fgdm {

// One request on its way through the chain: text, maps that were given, every group of factors in
// the manifest's order, selection by recall after each, and the picture. It says which latents wait
// for a step; the steps themselves are taken in batches, together with other requests'.
class Task {
public:
  // `decode_rows` is the most rows of one decoder call.
  Task(const Bundle& bundle, Graphs& graphs, EmbeddingCache& embeddings,
       std::shared_ptr<JobState> job, std::int64_t number, int decode_rows);

  JobState& job() const { return *job_; }
  std::int64_t number() const { return number_; }  // in the order requests came
  std::int64_t rows_saved() const { return rows_saved_; }
  std::int64_t candidates_failed() const { return candidates_failed_; }

  // Takes the maps that were given, and starts with the first group.
  void begin();

  // Latents that can take a step. A candidate that has come to where candidates are compared waits
  // for the others. Empty only when the picture is done.
  std::vector<Trajectory*> ready() const;

  // Goes on with latents that have just taken a step. Throws what ends the request.
  void stepped(const std::vector<Trajectory*>& trajectories);

  bool done() const { return !group_; }

  // What the request asked for, once it is done. To be called once.
  Result result();

private:
  void take_given(std::uint32_t index);
  void begin_group();
  std::unique_ptr<FactorRun> begin_run(std::uint32_t index,
                                       const std::vector<std::uint32_t>& group);
  std::optional<std::size_t> member_of(const std::vector<std::uint32_t>& group,
                                       const std::string& factor) const;
  std::vector<SeenLatent> seen_latents(const FactorRun& run, const std::vector<std::string>& names,
                                       const std::vector<std::uint32_t>& group);
  void begin_networks(FactorRun& run, const std::vector<std::uint32_t>& group);
  std::vector<float> control_image(const ConditioningSpec& network, const FactorSize& size) const;
  void begin_start(FactorRun& run);
  SelectionRules rules() const;
  void begin_candidates();
  std::vector<float> initial_noise(const FactorRun& run, int candidate) const;
  RowBuffer initial_latents(const FactorRun& run, int candidate) const;

  void call_step_callback(const std::vector<Trajectory*>& trajectories);
  void compare();
  void choose();
  void renew_hints(const std::vector<Trajectory*>& trajectories);
  std::optional<std::vector<Pixels>> joint_pictures(const std::vector<RowBuffer>& latents);
  void paint(Pixels image);

  std::vector<MapRecall> measure_maps();
  void drop_failed(int candidate);
  void end_candidate(int candidate);
  void keep_map(std::size_t member, int candidate, RowBuffer latents, const Pixels& picture);

  Pixels picture(const FactorRun& run, const std::string& decoder, const RowBuffer& latents);
  const std::string& preview_decoder() const;
  BackendError not_finite(const FactorSpec& factor, const std::string& what) const;
  // The factor whose maps the group's candidates are compared by.
  const FactorRun& measured_run() const { return *group_->runs()[group_->measured()]; }

  const Bundle& bundle_;
  const Manifest& manifest_;
  Graphs& graphs_;
  EmbeddingCache& embeddings_;
  std::shared_ptr<JobState> job_;
  const Request& request_;
  std::int64_t number_;

  std::vector<std::vector<std::uint32_t>> groups_;  // factors, by their places in the chain
  std::size_t next_group_ = 0;
  std::optional<Group> group_;  // the current one
  std::optional<Selection> selection_;
  std::map<int, Measured> measured_;  // of the current group: by candidate, the last time

  ChosenMaps maps_;
  JointHints joint_hints_;
  Measuring measuring_;
  std::int64_t rows_saved_ = 0, candidates_failed_ = 0;
  Result result_;
  std::map<std::string, Timings> timings_;  // by factor
  Decoding decoding_;
  JobState::Clock::time_point began_ = JobState::Clock::now();
  double sessions_before_;  // seconds that sessions had worked when this began
};

}  // namespace fgdm
