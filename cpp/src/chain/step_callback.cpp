#include "step_callback.hpp"

#include <algorithm>
#include <utility>

#include "fgdm/error.hpp"

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

}  // namespace fgdm
