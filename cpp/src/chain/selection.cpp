#include "fgdm/selection.hpp"

#include <algorithm>
#include <utility>

namespace fgdm {
namespace {

// Without `prune`, after 4, 6 and 8 tenths of the steps, if there is something to stop for.
std::vector<int> looks_of(const SelectionRules& rules) {
  if (!rules.prune.empty() || (rules.stop_at_recall == 0.0 && rules.stop_at_compliance == 0.0))
    return rules.prune;
  std::vector<int> looks;
  for (const int tenths : {4, 6, 8})
    if (const int step = (rules.steps * tenths + 5) / 10;
        step >= 1 && step < rules.steps && (looks.empty() || step > looks.back()))
      looks.push_back(step);
  return looks;
}

}  // namespace

Selection::Selection(SelectionRules rules) : rules_(std::move(rules)), looks_(looks_of(rules_)) {
  begin_wave();
}

void Selection::begin_wave() {
  const int wave = rules_.wave == 0 ? rules_.candidates : rules_.wave;
  const int end = std::min(rules_.candidates, begun_ + wave);
  for (; begun_ < end; ++begun_)
    sampling_.push_back(begun_);
  next_look_ = 0;
}

int Selection::until() const {
  return next_look_ < looks_.size() ? looks_[next_look_] : rules_.steps;
}

bool Selection::has_won(const MapRecall& map) const {
  const auto reaches = [](double value, double enough) { return enough > 0.0 && value >= enough; };
  return !map.refused && (reaches(map.recall, rules_.stop_at_recall) ||
                          reaches(map.compliance, rules_.stop_at_compliance));
}

void Selection::lost(int candidate) {
  std::erase(sampling_, candidate);
}

std::vector<int> Selection::seen(std::span<const MapRecall> maps) {
  std::vector<int> ended;
  if (!at_end()) {
    ++next_look_;
    if (maps.empty())
      return ended;
    const auto best = select(maps);
    const bool won = has_won(maps[best]);
    std::vector<bool> stays(maps.size(), rules_.prune.empty());
    if (!rules_.prune.empty())
      for (const auto i : better_half(maps))
        stays[i] = true;
    const auto compared = std::exchange(sampling_, {});
    for (std::size_t i = 0; i < compared.size(); ++i)
      (!stays[i] ? ended : won && i != best ? aside_ : sampling_).push_back(compared[i]);
    aside_next_look_ = next_look_;
    if (won)
      next_look_ = looks_.size();
    return ended;
  }
  // If none of the finished has won, those that were set aside go on, and then the next wave.
  const bool won = std::ranges::any_of(maps, [&](const MapRecall& map) { return has_won(map); });
  ended = std::exchange(sampling_, {});
  auto aside = std::exchange(aside_, {});
  if (won)
    ended.insert(ended.end(), aside.begin(), aside.end());
  else
    sampling_ = std::move(aside);
  if (!sampling_.empty())
    next_look_ = aside_next_look_;
  else if (won || begun_ == rules_.candidates)
    done_ = true;
  else
    begin_wave();
  return ended;
}

}  // namespace fgdm
