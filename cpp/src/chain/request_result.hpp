#pragma once

#include <map>
#include <string>
#include <vector>

#include "fgdm/bundle.hpp"
#include "fgdm/palette.hpp"
#include "fgdm/result.hpp"
#include "graphs.hpp"
#include "job.hpp"

namespace fgdm {

// The names of classes, which are given by their places in the palette.
std::vector<std::string> names_of(const Palette& palette, const std::vector<int>& indices);

// The result of a request that no step was taken of.
Result begun_result(const JobState& job);

// The result of a condition factor, at this place of the chain, that has no map yet.
FactorResult begun_result(const JobState& job, const Bundle& bundle, std::size_t factor);

// What a request's work took: seconds since it began, and that sessions worked, for whomever.
struct Took {
  JobState::Clock::time_point began;
  double sessions;
};

// Fills in what is known at the end: the fields that speak of a map, from the last factor that
// makes labels, else from the last one; all seconds, from those of the factors; the request.
void finish(Result& result, const JobState& job, const Bundle& bundle,
            const std::map<std::string, Timings>& by_factor, const Took& took);

}  // namespace fgdm
