#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "fgdm/pixels.hpp"
#include "fgdm/request.hpp"

namespace fgdm {

// One sampled map and what it holds.
struct Candidate {
  int index;
  double recall;                            // found / requested
  std::vector<std::string> found, missing;  // requested classes
  double smallest_area;                     // of the found classes, as a fraction of the map
  Pixels map, labels;                       // colours snapped to the palette; class indices
  int steps;                                // sampled; map and recall are those of the predicted
  bool pruned = false;                      // x0 where it was dropped before the last
  bool failed = false;  // its latent or its picture isn't finite: it holds nothing, can't be chosen
};

// What became of one condition factor that wasn't left out.
struct FactorResult {
  // Those that were looked at; of a factor that was sampled jointly with the one that is measured,
  // and of a map that was given, only the one that was kept.
  std::vector<Candidate> candidates;
  int chosen = -1;  // index into candidates
  bool given = false;
  std::vector<std::string> requested, excluded;  // of a factor that makes labels
  std::size_t unknown_pixels =
      0;  // of the request's map: whose colour is near none of the palette's
  std::string truncated, negative_truncated;  // as in Result, of prompts of the factor's own
  std::map<std::string, double> timings;      // seconds by stage
};

// Fields that speak of a map are those of the last factor that makes labels; where none does, of
// the last condition factor.
struct Result {
  Pixels image;
  std::map<std::string, FactorResult> factors;  // by name
  std::vector<Candidate> candidates;            // empty where the chain made no map
  int chosen = -1;                              // index into candidates
  std::vector<std::string> requested;
  std::vector<std::string> excluded;  // classes that the prompt names as what shall not be there
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
  Request request;  // every option as it was resolved
};

}  // namespace fgdm
