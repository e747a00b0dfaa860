#include "prompt_mentions.hpp"

#include <algorithm>

namespace fgdm {
namespace {

bool share_one(const std::vector<std::string>& a, const std::vector<std::string>& b) {
  return std::ranges::any_of(a, [&](const auto& one) { return std::ranges::count(b, one) > 0; });
}

}  // namespace

PromptMentions::PromptMentions(const Palette& palette, std::span<const PromptPart> parts,
                               bool articles_count)
    : palette_(palette) {
  for (std::size_t i = 0; i < parts.size(); ++i) {
    const auto& noun = parts[i];
    if (noun.kind != PromptPart::Kind::noun || !noun.is_class())
      continue;
    if (!palette.classes()[static_cast<std::size_t>(noun.label)].thing) {
      places_[i] = {noun.label, 0};
      continue;
    }
    if (!groups_.contains(noun.label))
      order_.push_back(noun.label);
    if (const auto known = same_as_before(noun)) {
      auto& group = groups_[noun.label][*known];
      if (noun.counted && !group.is_told) {  // "the dogs ... the two dogs"
        group.least = noun.least;
        group.most = noun.most;
        group.is_exact = group.is_told = true;
      }
      group.colors.insert(group.colors.end(), noun.colors.begin(), noun.colors.end());
      places_[i] = {noun.label, *known};
    } else {
      add(noun, articles_count);
      places_[i] = {noun.label, groups_[noun.label].size() - 1};
    }
  }
}

// The last group of the class that "the dog", or a bare "dog", can mean.
std::optional<std::size_t> PromptMentions::same_as_before(const PromptPart& noun) const {
  const auto found = groups_.find(noun.label);
  const bool is_bare = !noun.counted && !noun.vague && !noun.indefinite && !noun.definite;
  if (found == groups_.end() || noun.indefinite || noun.vague || noun.part ||
      (noun.counted && !noun.definite) || (is_bare && noun.plural))
    return std::nullopt;
  const auto& name = palette_.classes()[static_cast<std::size_t>(noun.label)].name;
  std::optional<std::size_t> best;
  for (std::size_t i = 0; i < found->second.size(); ++i) {
    const auto& group = found->second[i];
    const bool is_other_word = !noun.plural && group.least == 1 && noun.form != group.form &&
                               noun.form != name && group.form != name;  // a man, the woman
    const bool is_other_color =
        !noun.colors.empty() && !group.colors.empty() && !share_one(noun.colors, group.colors);
    const bool is_other_number = noun.counted && group.is_told && noun.least != group.least;
    if (is_other_word || is_other_color || is_other_number)
      continue;
    const bool fits = (group.least > 1) == noun.plural;
    if (!best || fits || (found->second[*best].least > 1) != noun.plural)
      best = i;
  }
  return best;
}

void PromptMentions::add(const PromptPart& noun, bool articles_count) {
  auto& groups = groups_[noun.label];
  const bool is_said = noun.counted || noun.vague || noun.indefinite;
  const bool is_part =  // "three of the dogs"
      noun.part || (noun.counted && noun.definite);
  groups.push_back({static_cast<int>(groups.size()) + 1, is_said ? noun.least : 1, noun.most,
                    noun.counted || (noun.indefinite && !noun.vague && articles_count),
                    (!is_part || groups.empty()) && (is_said || noun.definite),
                    noun.counted || noun.vague, noun.form, noun.colors});
  if (noun.counted && !noun.most)
    groups.back().is_exact = false;
}

void PromptMentions::need(std::size_t place, int least) {
  const auto& [label, group] = places_.at(place);
  if (const auto found = groups_.find(label); found != groups_.end())
    found->second[group].least = std::max(found->second[group].least, least);
}

bool PromptMentions::adds(std::size_t place) const {
  const auto& [label, group] = places_.at(place);
  const auto found = groups_.find(label);
  return found != groups_.end() && found->second[group].adds;
}

Mention PromptMentions::at(std::size_t place) const {
  const auto& [label, group] = places_.at(place);
  const auto found = groups_.find(label);
  if (found == groups_.end())
    return {label};
  return {label, found->second[group].least, found->second[group].which};
}

std::vector<CountRequirement> PromptMentions::counts() const {
  std::vector<CountRequirement> counts;
  for (const int label : order_) {
    CountRequirement all{label, 0, 0};
    for (const auto& group : groups_.at(label)) {
      if (!group.adds)
        continue;
      all.least = std::min(all.least + group.least, most_instances);
      if (!group.is_exact)
        all.most.reset();
      else if (all.most)
        all.most = std::min(*all.most + group.most.value_or(group.least), most_instances);
    }
    if (all.least > 1 || (all.least == 1 && all.most))
      counts.push_back(all);
  }
  return counts;
}

}  // namespace fgdm
