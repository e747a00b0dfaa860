#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "fgdm/api.h"
#include "fgdm/recall.hpp"

namespace fgdm {

// What a request says about the candidates of a factor; see Request.
struct FGDM_API SelectionRules {
  int candidates = 1;               // at most so many
  int steps = 1;                    // of each
  std::vector<int> prune;           // ascending, from 1 to steps - 1
  double stop_at_recall = 0.0;      // 0: every candidate is sampled to its end
  int wave = 0;                     // 0: all candidates at once
  double stop_at_compliance = 0.0;  // in place of stop_at_recall
};

// Which candidates of a factor are sampled, and how far: pruning, stopping early and waves (Request
// says what each does). It holds no latents and measures nothing: what it is told decides.
//
//   while (!selection.done()) {
//     sample all of sampling() to until() steps;
//     if (selection.looks()) measure them: predicted x0 before the last step, then the map;
//     selection.seen(measured);
//   }
class FGDM_API Selection {
public:
  explicit Selection(SelectionRules rules);

  // The candidates that are sampled now, and the steps that all of them take before seen().
  const std::vector<int>& sampling() const { return sampling_; }
  int until() const;

  // Whether seen() wants to know what the maps hold: always at the end, and wherever more than one
  // candidate is compared.
  bool looks() const { return at_end() || sampling_.size() > 1; }
  bool at_end() const { return until() == rules_.steps; }

  // Goes on from until(). `maps`: of sampling(), in its order; none where it doesn't look. The
  // candidates that go no further. At the end, those of sampling() come first: they are finished.
  std::vector<int> seen(std::span<const MapRecall> maps);

  // A candidate of sampling() that can't be sampled or measured.
  void lost(int candidate);

  // Whether no candidate is left to sample.
  bool done() const { return done_; }

  // The candidates of which at least one step was taken: the first so many.
  int begun() const { return begun_; }

private:
  void begin_wave();
  bool has_won(const MapRecall& map) const;

  SelectionRules rules_;
  std::vector<int> looks_;  // the steps after which candidates are compared
  std::size_t next_look_ = 0;
  std::vector<int> sampling_;
  std::vector<int> aside_;           // wait until another one, which seems to have won, is finished
  std::size_t aside_next_look_ = 0;  // of those
  int begun_ = 0;
  bool done_ = false;
};

}  // namespace fgdm
