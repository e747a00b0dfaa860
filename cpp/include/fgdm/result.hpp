#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "fgdm/api.h"
#include "fgdm/compliance.hpp"
#include "fgdm/device_array.hpp"
#include "fgdm/pixels.hpp"
#include "fgdm/request.hpp"

namespace fgdm {

// One sampled map and what it holds.
struct FGDM_API Candidate {
  int index;
  double recall;                            // found / requested
  std::vector<std::string> found, missing;  // requested classes
  double smallest_area;                     // of the found classes, as a fraction of the map
  Pixels map, labels;                       // colours snapped to the palette; class indices
  int steps;                                // sampled; map and recall are those of the predicted
  bool pruned = false;                      // x0 where it was dropped before the last
  bool failed = false;  // its latent or its picture isn't finite: it holds nothing, can't be chosen
  std::vector<Met> met{};   // of each requirement of the factor
  double compliance = 1.0;  // met / checked
  std::string refused{};    // what it holds that must not be painted; empty: nothing
};

// A map of a request that is at work: of a candidate that was just looked at, or one that was given
// or chosen, with which the request goes on.
struct FGDM_API MapInfo {
  const std::string& factor;
  const Candidate& candidate;  // with fewer than num_steps steps, unless it was given: predicted x0
  int num_steps;               // of the factor
  std::uint64_t seed;          // of the request
  bool chosen;
};

// Sees every such map; true stops the request with CancelledError. Called on the engine's thread,
// where other requests wait for it.
using MapCallback = std::function<bool(const MapInfo&)>;

// The finished maps of a factor that makes labels, of which one is to be chosen: neither pruned nor
// refused nor failed, one or more; valid during the call.
struct FGDM_API Choice {
  const std::string& factor;
  std::span<const Candidate* const> candidates;
  std::uint64_t seed;  // of the request
};

// The place of the chosen one among `candidates`; none stops the request with CancelledError.
// Called on the engine's thread, where other requests wait for it; of joint factors again, without
// the map that was chosen before, if another picture of its candidate can't be decoded.
using SelectCallback = std::function<std::optional<std::size_t>(const Choice&)>;

// What became of one condition factor that wasn't left out.
struct FGDM_API FactorResult {
  // Those that were looked at; of a factor that was sampled jointly with the one that is measured,
  // and of a map that was given, only the one that was kept.
  std::vector<Candidate> candidates;
  int chosen = -1;  // index into candidates
  bool given = false;
  std::vector<std::string> requested, excluded;  // of a factor that makes labels
  std::vector<RequirementText> requirements;     // likewise, in the order of describe()
  std::vector<std::string> not_understood;       // PromptRequirements::unread
  std::size_t unknown_pixels =
      0;  // of the request's map: whose colour is near none of the palette's
  std::string truncated, negative_truncated;  // as in Result, of prompts of the factor's own
  std::map<std::string, double> timings;      // seconds by stage
};

// Fields that speak of a map are those of the last factor that makes labels; where none does, of
// the last condition factor.
struct FGDM_API Result {
  Pixels image;  // empty of a request with keep_on_device
  // Of such a request: uint8 (height, width, 3), and float32 (1, C, h, w). They stay as long as
  // somebody holds them, after the engine too.
  DeviceArray image_on_device, latents_on_device;
  std::map<std::string, FactorResult> factors;  // by name
  std::vector<Candidate> candidates;            // empty where the chain made no map
  int chosen = -1;                              // index into candidates
  std::vector<std::string> requested;
  std::vector<std::string> excluded;  // classes that the prompt names as what shall not be there
  std::vector<RequirementText> requirements;
  std::vector<std::string> not_understood;
  // Words of the prompt that name no class of the palette, the first hundred; how many more.
  std::vector<std::string> unrecognized;
  std::size_t unrecognized_omitted = 0;
  // The ends of the prompt and of the negative prompt that the text encoder doesn't read, as they
  // are too long for it; empty: it reads all. Classes that are named only there are `unread`: they
  // aren't requested, unless Request::objects asks for them.
  std::string truncated, negative_truncated;
  std::vector<std::string> unread;
  std::uint64_t seed;
  std::int64_t map_rows = 0;  // backbone rows that the maps took
  // Seconds per stage: this request's share of the batches it was in. "queue": until work on it
  // began; "waiting": sessions that worked for others; "core": outside of sessions; "total": from
  // the beginning of work to the end.
  std::map<std::string, double> timings;
  std::shared_ptr<const Inversion> inversion;  // of a request that inverts
  Request request;                             // every option as it was resolved
};

}  // namespace fgdm
