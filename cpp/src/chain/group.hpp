#pragma once

#include <map>
#include <memory>
#include <vector>

#include "factor_run.hpp"

namespace fgdm {

// Factors of a request that are sampled together: one, or several in the chain's order, each of
// which takes a step after those before it have taken theirs and sees what they have become (FG-DM,
// equations 4 to 6). All take equally many steps.
class Group {
public:
  using Runs = std::vector<std::unique_ptr<FactorRun>>;
  explicit Group(Runs runs) : runs_(std::move(runs)) {}

  const Runs& runs() const { return runs_; }

  // The one whose maps candidates are compared by: the first that makes labels, else the first.
  std::size_t measured() const;

  bool is_image() const { return runs_.front()->factor.is_image; }  // and nothing else
  int num_steps() const { return runs_.front()->num_steps(); }

  // Backbone rows of one candidate: of `steps` steps of each factor, from step `first` on.
  std::int64_t rows(int first, int steps) const;

  bool has_begun(int candidate) const { return candidates_.contains(candidate); }
  // `latents`: the initial ones, a row for each factor.
  void begin(int candidate, std::vector<RowBuffer> latents);
  void end(int candidate) { candidates_.erase(candidate); }

  // A begun candidate's, one for each factor.
  const std::vector<std::unique_ptr<Trajectory>>& trajectories(int candidate) const {
    return candidates_.at(candidate);
  }

  // The trajectory whose turn it is; nullptr where all have taken `steps` steps.
  Trajectory* next(int candidate, int steps) const;

private:
  Runs runs_;
  std::map<int, std::vector<std::unique_ptr<Trajectory>>> candidates_;
};

}  // namespace fgdm
