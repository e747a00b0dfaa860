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

// Calls a request's map callback, if it has one, with a map of a factor that takes so many steps.
// Throws likewise.
void call_map_callback(const JobState& job, const FactorSpec& factor, const Candidate& candidate,
                       int num_steps, bool chosen);

// Lets a request's select callback choose one of a factor's maps, one or more; its place among
// them. Throws likewise, and RequestError for a place that is none.
std::size_t call_select_callback(const JobState& job, const FactorSpec& factor,
                                 std::span<const Candidate* const> candidates);

}  // namespace fgdm
