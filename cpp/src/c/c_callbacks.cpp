#include "c_callbacks.hpp"

#include <vector>

#include "c_arrays.hpp"
#include "c_status.hpp"

namespace {

// A step as C sees it, and what fgdm_step_preview needs besides.
struct Step : fgdm_step {
  const fgdm::StepInfo* info;
  mutable fgdm::Pixels shown;
};

fgdm_map map_of(const std::string& factor, const fgdm::Candidate& candidate, int num_steps) {
  return {factor.c_str(),
          candidate.index,
          candidate.steps,
          num_steps,
          candidate.recall,
          candidate.compliance,
          candidate.refused.c_str(),
          fgdm::c::lent(candidate.map),
          fgdm::c::lent(candidate.labels)};
}

}  // namespace

namespace fgdm::c {

StepCallback step_callback(const fgdm_callbacks& callbacks) {
  if (callbacks.on_step == nullptr)
    return {};
  return [on_step = callbacks.on_step, context = callbacks.context](const StepInfo& info) {
    const Step step{{info.factor.c_str(), info.step, info.num_steps, info.timestep,
                     info.candidates.data(), info.candidates.size(), info.predicted_x0.data(),
                     info.channels, info.height, info.width},
                    &info,
                    {}};
    return on_step(context, &step) != 0;
  };
}

MapCallback map_callback(const fgdm_callbacks& callbacks) {
  if (callbacks.on_map == nullptr)
    return {};
  return [on_map = callbacks.on_map, context = callbacks.context](const MapInfo& info) {
    const auto map = map_of(info.factor, info.candidate, info.num_steps);
    return on_map(context, &map, info.chosen ? 1 : 0) != 0;
  };
}

SelectCallback select_callback(const fgdm_callbacks& callbacks) {
  if (callbacks.on_select == nullptr)
    return {};
  return [on_select = callbacks.on_select,
          context = callbacks.context](const Choice& choice) -> std::optional<std::size_t> {
    std::vector<fgdm_map> maps;
    maps.reserve(choice.candidates.size());
    for (const auto* candidate : choice.candidates)
      maps.push_back(map_of(choice.factor, *candidate, candidate->steps));
    const int place = on_select(context, maps.data(), maps.size());
    if (place < 0 || static_cast<std::size_t>(place) >= maps.size())
      return std::nullopt;
    return static_cast<std::size_t>(place);
  };
}

}  // namespace fgdm::c

extern "C" fgdm_status fgdm_step_preview(const fgdm_step* step, int candidate,
                                         fgdm_pixels* pixels) {
  return fgdm::c::guarded([&] {
    fgdm::c::required(pixels, "pixels") = {};
    // An engine hands out no other steps.
    const auto& asked = static_cast<const Step&>(fgdm::c::required(step, "step"));
    asked.shown = asked.info->preview(candidate);
    *pixels = fgdm::c::lent(asked.shown);
    return FGDM_OK;
  });
}
