#include "joint_hints.hpp"

#include <algorithm>
#include <utility>

#include "read_map.hpp"

namespace fgdm {
namespace {

// The place of a trajectory's factor in the group.
std::size_t member_of(const Trajectory& trajectory, const Group& group) {
  const auto found =
      std::ranges::find(group.runs(), trajectory.run, &std::unique_ptr<FactorRun>::get);
  return static_cast<std::size_t>(found - group.runs().begin());
}

// Whether a network of the group sees the map of the factor at this place in it.
bool is_seen(const Group& group, std::size_t member) {
  return std::ranges::any_of(group.runs(), [&](const auto& run) {
    return std::ranges::find(run->joint_maps, std::optional(member)) != run->joint_maps.end();
  });
}

}  // namespace

std::vector<const Trajectory*> JointHints::due(const Group& group,
                                               const std::vector<Trajectory*>& stepped, int steps) {
  std::vector<const Trajectory*> found;
  for (const auto* trajectory : stepped)
    if ((trajectory->steps_taken() - 1) % steps == 0 &&
        is_seen(group, member_of(*trajectory, group)))
      found.push_back(trajectory);
  return found;
}

void JointHints::show(const Trajectory& shown, const Pixels& picture, const Group& group,
                      std::map<std::string, Timings>& timings) const {
  const auto& manifest = bundle_.manifest();
  const auto& of = *shown.run;
  auto read = read_map(bundle_, of.factor, picture);
  const ChosenMap map{&of.factor, of.size, std::move(read.snapped), std::move(read.rgb),
                      std::nullopt};
  const auto member = member_of(shown, group);
  for (const auto& trajectory : group.trajectories(shown.candidate)) {
    const auto& run = *trajectory->run;
    for (std::size_t i = 0; i < run.joint_maps.size(); ++i) {
      if (run.joint_maps[i] != member)
        continue;
      const auto& network = run.factor.conditionings[i];
      const auto seen =
          picture_row(graphs_.device(), run.size, maps_.control_image(map, network, run.size));
      trajectory->joint_hints[i] = encode_control_image(manifest, network, run.size, run.scales[i],
                                                        seen, graphs_, timings[run.factor.name]);
    }
  }
}

}  // namespace fgdm
