#include "group.hpp"

#include <algorithm>

namespace fgdm {

std::size_t Group::measured() const {
  const auto found =
      std::ranges::find_if(runs_, [](const auto& run) { return run->factor.makes_labels(); });
  return found == runs_.end() ? 0 : static_cast<std::size_t>(found - runs_.begin());
}

std::int64_t Group::rows(int first, int steps) const {
  std::int64_t sum = 0;
  for (const auto& run : runs_)
    sum += run->rows(run->first + first, run->first + first + steps);
  return sum;
}

void Group::begin(int candidate, std::vector<RowBuffer> latents) {
  std::vector<std::unique_ptr<Trajectory>> made;
  std::vector<const Trajectory*> all;
  for (std::size_t i = 0; i < runs_.size(); ++i) {
    made.push_back(std::make_unique<Trajectory>(*runs_[i], candidate, std::move(latents[i])));
    all.push_back(made.back().get());
  }
  for (const auto& trajectory : made)
    trajectory->group = all;
  candidates_.insert_or_assign(candidate, std::move(made));
}

Trajectory* Group::next(int candidate, int steps) const {
  // The first of those that have taken the fewest steps.
  const auto& all = candidates_.at(candidate);
  const auto& slowest = *std::ranges::min_element(
      all, {}, [](const auto& trajectory) { return trajectory->steps_taken(); });
  return slowest->steps_taken() < steps ? slowest.get() : nullptr;
}

}  // namespace fgdm
