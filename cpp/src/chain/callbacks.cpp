#include "callbacks.hpp"

#include <algorithm>
#include <utility>

#include "fgdm/error.hpp"
#include "wording.hpp"

namespace fgdm {

void call_step_callback(const JobState& job, const Manifest& manifest,
                        const std::vector<Trajectory*>& stepped,
                        const std::function<Pixels(const Trajectory&)>& preview) {
  if (!job.callback)
    return;
  std::map<std::pair<std::uint32_t, int>, std::vector<Trajectory*>> by_step;
  for (auto* trajectory : stepped)
    by_step[{trajectory->run->index, trajectory->step}].push_back(trajectory);
  for (const auto& entry : by_step) {
    const auto& rows = entry.second;  // a binding could not be captured by clang 14's lambdas
    const auto& run = *rows.front()->run;
    const int steps = rows.front()->steps_taken();
    std::vector<int> candidates;
    std::vector<float> predicted_x0;
    for (const auto* row : rows) {
      candidates.push_back(row->candidate);
      const auto latents = row->predicted_x0.floats(1);
      predicted_x0.insert(predicted_x0.end(), latents.begin(), latents.end());
    }
    const auto preview_of = [&rows, &preview](int candidate) {
      const auto found = std::ranges::find(rows, candidate, &Trajectory::candidate);
      if (found == rows.end())
        throw RequestError("preview of candidate " + std::to_string(candidate) +
                           ", which did not take this step; StepInfo names those that did");
      return preview(**found);
    };
    const auto& size = run.size;
    const StepInfo info{run.factor.name,
                        steps - 1,
                        run.num_steps(),
                        run.sampler.timesteps()[static_cast<std::size_t>(entry.first.second - 1)],
                        candidates,
                        manifest.latent_channels,
                        size.latent_height,
                        size.latent_width,
                        predicted_x0,
                        preview_of};
    if (job.callback(info))
      throw CancelledError("the step callback stopped the request after step " +
                           std::to_string(steps) + " of factor " + run.factor.name);
  }
}

void call_map_callback(const JobState& job, const FactorSpec& factor, const Candidate& candidate,
                       int num_steps, bool chosen) {
  if (job.map_callback &&
      job.map_callback({factor.name, candidate, num_steps, *job.request.seed, chosen}))
    throw CancelledError("the map callback stopped the request at a map of factor " + factor.name);
}

std::size_t call_select_callback(const JobState& job, const FactorSpec& factor,
                                 std::span<const Candidate* const> candidates) {
  const auto place = job.select_callback({factor.name, candidates, *job.request.seed});
  if (!place)
    throw CancelledError("the select callback stopped the request at the maps of factor " +
                         factor.name);
  if (*place >= candidates.size())
    throw RequestError("the select callback chose " + shown(*place) + " of the " +
                       shown(candidates.size()) + " maps of factor " + factor.name +
                       ", expected a place among them, from 0");
  return *place;
}

}  // namespace fgdm
