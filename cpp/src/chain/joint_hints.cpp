#include "joint_hints.hpp"

#include <algorithm>
#include <utility>

#include "read_map.hpp"

namespace fgdm {
namespace {

// Whether a network of the group sees the map of the factor at this place in it.
bool is_seen(const Group& group, std::size_t member) {
  return std::ranges::any_of(group.runs(), [&](const auto& run) {
    return std::ranges::find(run->joint_maps, std::optional(member)) != run->joint_maps.end();
  });
}

}  // namespace

std::vector<int> JointHints::renew(const Group& group, const std::vector<Trajectory*>& stepped,
                                   int steps, const std::string& decoder, Decoding& decoding,
                                   std::map<std::string, Timings>& timings) const {
  std::vector<int> failed;
  for (std::size_t member = 0; member < group.runs().size(); ++member) {
    if (!is_seen(group, member))
      continue;
    const auto& run = *group.runs()[member];
    std::vector<int> candidates;
    std::vector<const RowBuffer*> rows;
    for (const auto* trajectory : stepped)
      if (trajectory->run == &run && (trajectory->steps_taken() - 1) % steps == 0) {
        candidates.push_back(trajectory->candidate);
        rows.push_back(&trajectory->predicted_x0);
      }
    auto pictures = decoding.pictures(decoder, run.size, rows, timings[run.factor.name]);
    for (std::size_t i = 0; i < pictures.size(); ++i) {
      if (!pictures[i]) {
        failed.push_back(candidates[i]);
        continue;
      }
      auto read = read_map(bundle_, run.factor, *pictures[i]);
      see({&run.factor, run.size, std::move(read.snapped), std::move(read.rgb), std::nullopt},
          member, group, candidates[i], timings);
    }
  }
  return failed;
}

// Lets every network that sees it see a candidate's map.
void JointHints::see(const ChosenMap& map, std::size_t member, const Group& group, int candidate,
                     std::map<std::string, Timings>& timings) const {
  const auto& manifest = bundle_.manifest();
  for (const auto& trajectory : group.trajectories(candidate)) {
    const auto& run = *trajectory->run;
    for (std::size_t i = 0; i < run.joint_maps.size(); ++i) {
      if (run.joint_maps[i] != member)
        continue;
      const auto& network = run.factor.conditionings[i];
      trajectory->joint_hints[i] = encode_control_image(manifest, network, run.size, run.scales[i],
                                                        maps_.control_image(map, network, run.size),
                                                        graphs_, timings[run.factor.name]);
    }
  }
}

}  // namespace fgdm
