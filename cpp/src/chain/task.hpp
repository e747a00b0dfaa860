#pragma once

#include <array>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "chosen_maps.hpp"
#include "decoding.hpp"
#include "embedding_cache.hpp"
#include "factor_start.hpp"
#include "fgdm/bundle.hpp"
#include "fgdm/error.hpp"
#include "fgdm/recall.hpp"
#include "fgdm/selection.hpp"
#include "group.hpp"
#include "job.hpp"
#include "joint_hints.hpp"
#include "measuring.hpp"
#include "painting.hpp"
#include "request_result.hpp"

namespace fgdm {

// One request on its way through the chain: text, maps that were given, every group of factors in
// the manifest's order, selection by recall after each, and the picture. It says which latents wait
// for a step or a decoder; steps are taken and latents decoded in batches, with other requests'.
class Task {
public:
  Task(const Bundle& bundle, Graphs& graphs, EmbeddingCache& embeddings,
       std::shared_ptr<JobState> job, std::int64_t number);

  JobState& job() const { return *job_; }
  std::int64_t number() const { return number_; }  // in the order requests came
  std::int64_t rows_saved() const { return rows_saved_; }
  std::int64_t candidates_failed() const { return candidates_failed_; }

  // Encodes the texts, takes the maps that were given, and starts with the first group.
  void begin();

  // Latents that can take a step. A candidate that has come to where candidates are compared waits
  // for the others.
  std::vector<Trajectory*> ready() const;

  // Latents that wait for a decoder. Neither these nor ready() are there only when the picture is
  // done.
  std::list<Decode>& decodes() { return decodes_; }

  // Goes on with latents that have just taken a step. Throws what ends the request.
  void stepped(const std::vector<Trajectory*>& trajectories);

  // Goes on with one of decodes(), which ends: its picture is a row of these, and took so many
  // seconds. Throws what ends the request.
  void decoded(Decode& decode, const RowBuffer& pictures, std::size_t row, double seconds);

  bool done() const { return !group_; }

  // What the request asked for, once it is done. To be called once.
  Result result();

private:
  void encode_texts();
  void take_given(std::uint32_t index);
  void begin_group();
  SelectionRules rules() const;
  void begin_candidates();

  void go_on();
  void renew_hints(const std::vector<Trajectory*>& trajectories);
  void look();
  void measure(const Trajectory& trajectory, bool predicted, const RowBuffer& pictures,
               std::size_t row);
  void compare(bool looked);
  void choose();
  void keep(int candidate);
  void keep_map(std::size_t member, int candidate, RowBuffer latents);
  void finish_image();

  void drop_failed(int candidate);
  void end_candidate(int candidate);

  Pixels preview(const Trajectory& trajectory);
  const std::string& preview_decoder() const;
  BackendError not_finite(const FactorSpec& factor, const std::string& what) const;
  BackendError not_finite_picture(const FactorSpec& factor, const std::string& decoder) const;
  // The factor whose maps the group's candidates are compared by.
  const FactorRun& measured_run() const { return *group_->runs()[group_->measured()]; }

  const Bundle& bundle_;
  const Manifest& manifest_;
  Graphs& graphs_;
  EmbeddingCache& cache_;
  std::shared_ptr<JobState> job_;
  const Request& request_;
  std::int64_t number_;

  std::map<std::uint32_t, std::array<Embeddings, 2>> embeddings_;  // of a factor's two prompts
  std::vector<Embeddings> edits_;                                  // of the edits' prompts
  std::vector<std::vector<std::uint32_t>> groups_;  // factors, by their places in the chain
  std::size_t next_group_ = 0;
  std::optional<Group> group_;  // the current one
  std::optional<Selection> selection_;
  std::map<int, Measured> measured_;  // of the current group: by candidate, the last time
  std::list<Decode> decodes_;
  std::function<void()> then_;  // what follows once they are done
  // Of the chosen candidate, by the group's factors; an image's is in the result, and empty here.
  std::vector<std::optional<Pixels>> pictures_;

  std::map<std::string, Timings> timings_;  // by factor
  ChosenMaps maps_;
  FactorStart begin_;
  JointHints joint_hints_;
  Measuring measuring_;
  std::int64_t rows_saved_ = 0, candidates_failed_ = 0;
  Result result_;
  Painting painting_;
  JobState::Clock::time_point began_ = JobState::Clock::now();
  double sessions_before_;  // seconds that sessions had worked when this began
};

}  // namespace fgdm
