#pragma once

#include <map>
#include <string>
#include <vector>

#include "chosen_maps.hpp"
#include "decoding.hpp"
#include "group.hpp"

namespace fgdm {

// What networks of joint factors make of maps that are still on their way: each sees what the map
// of an earlier factor is about to become, the decoded predicted x0, and sees it anew every so many
// steps, after the map's step and before its own factor's.
class JointHints {
public:
  JointHints(const Bundle& bundle, Graphs& graphs, const ChosenMaps& maps)
      : bundle_(bundle), graphs_(graphs), maps_(maps) {}

  // Renews what is due, every `steps` steps, of a group's trajectories that have just taken a step.
  // Books what that takes on `timings`, by factor. The candidates whose picture is not finite,
  // which can't go on.
  std::vector<int> renew(const Group& group, const std::vector<Trajectory*>& stepped, int steps,
                         const std::string& decoder, Decoding& decoding,
                         std::map<std::string, Timings>& timings) const;

private:
  void see(const ChosenMap& map, std::size_t member, const Group& group, int candidate,
           std::map<std::string, Timings>& timings) const;

  const Bundle& bundle_;
  Graphs& graphs_;
  const ChosenMaps& maps_;
};

}  // namespace fgdm
