#pragma once

#include <functional>
#include <vector>

#include "factor_run.hpp"
#include "fgdm/pixels.hpp"
#include "job.hpp"

namespace fgdm {

// Calls a request's step callback, if it has one, once for all trajectories that are equally far in
// a factor. `preview` shows what one of them is about to become. Throws CancelledError if the
// callback stops the request, and what the callback throws.
void call_step_callback(const JobState& job, const Manifest& manifest,
                        const std::vector<Trajectory*>& stepped,
                        const std::function<Pixels(const Trajectory&)>& preview);

}  // namespace fgdm
