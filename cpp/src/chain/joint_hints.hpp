#pragma once

#include <map>
#include <string>
#include <vector>

#include "chosen_maps.hpp"
#include "fgdm/pixels.hpp"
#include "group.hpp"

namespace fgdm {

// What networks of joint factors make of maps that are still on their way: each sees what the map
// of an earlier factor is about to become, the decoded predicted x0, and sees it anew every so many
// steps, after the map's step and before its own factor's.
class JointHints {
public:
  JointHints(const Bundle& bundle, Graphs& graphs, const ChosenMaps& maps)
      : bundle_(bundle), graphs_(graphs), maps_(maps) {}

  // Of trajectories of a group that have just taken a step, those whose map others see anew, every
  // `steps` steps.
  static std::vector<const Trajectory*> due(const Group& group,
                                            const std::vector<Trajectory*>& stepped, int steps);

  // Lets every network that sees the map of `shown` see this picture of it. Books what that takes
  // on `timings`, by factor.
  void show(const Trajectory& shown, const Pixels& picture, const Group& group,
            std::map<std::string, Timings>& timings) const;

private:
  const Bundle& bundle_;
  Graphs& graphs_;
  const ChosenMaps& maps_;
};

}  // namespace fgdm
