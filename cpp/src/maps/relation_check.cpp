#include "relation_check.hpp"

#include <algorithm>
#include <array>
#include <optional>

#include "fgdm/compliance.hpp"
#include "regions.hpp"

namespace fgdm {
namespace {

constexpr std::size_t most_tried = 8;    // instances of a class
constexpr int most_combinations = 2000;  // of all mentions, of one map

using Chosen = std::vector<std::size_t>;       // instances of a mention's class
using Table = std::vector<std::vector<bool>>;  // whether a of the subject stands so to b

// The subsets of `size` of 0 to count - 1, in lexical order.
std::vector<Chosen> subsets(std::size_t count, std::size_t size) {
  std::vector<Chosen> all;
  if (size > count)
    return all;
  Chosen now(size);
  for (std::size_t i = 0; i < size; ++i)
    now[i] = i;
  while (true) {
    all.push_back(now);
    std::size_t i = size;
    while (i > 0 && now[i - 1] == count - size + i - 1)
      --i;
    if (i == 0)
      return all;
    ++now[i - 1];
    for (std::size_t k = i; k < size; ++k)
      now[k] = now[k - 1] + 1;
  }
}

class Arrangement {
public:
  Arrangement(const Palette& palette, const Requirements& required, const Components& found,
              const std::vector<bool>& is_there, std::span<const std::uint8_t> labels, int height,
              int width)
      : required_(required), regions_(labels, height, width), height_(height) {
    for (const auto& relation : required.relations) {
      Ends ends{variable(relation.subject), variable(relation.object), {}};
      if (relation.other)
        ends.other = variable(*relation.other);
      ends_.push_back(ends);
    }
    for (auto& one : variables_) {
      const auto label = static_cast<std::size_t>(one.mention.label);
      one.is_background = !palette.classes().at(label).thing;
      if (!one.is_background) {
        const auto& all = found.instances[label];
        const auto size = static_cast<std::size_t>(one.mention.least);
        one.things.assign(all.begin(), all.begin() + static_cast<std::ptrdiff_t>(std::min(
                                                         all.size(), std::max(most_tried, size))));
        one.choices = subsets(
            size > most_tried ? std::min(size, one.things.size()) : one.things.size(), size);
        one.is_different = mentions_of(required, one.mention.label).are_different;
      } else if (is_there[label]) {
        one.things = {regions_.whole(one.mention.label)};
        one.choices = {{0}};
      }
      if (one.is_different || one.choices.empty())
        one.choices.emplace_back();  // perhaps another mention needs them more
    }
    for (std::size_t i = 0; i < ends_.size(); ++i)
      tables_.push_back(tables(i));
  }

  std::vector<bool> run() {
    best_.assign(ends_.size(), false);
    std::vector<bool> met(ends_.size(), false);
    assign(0, 0, met);
    return best_;
  }

private:
  struct Variable {
    Mention mention;
    bool is_background = false, is_different = false;
    std::vector<Instance> things;
    std::vector<Chosen> choices;
    const Chosen* chosen = nullptr;
  };
  struct Ends {  // places among the variables
    std::size_t subject, object;
    std::optional<std::size_t> other;

    std::size_t last() const { return std::max({subject, object, other.value_or(0)}); }
  };

  std::size_t variable(const Mention& mention) {
    for (std::size_t i = 0; i < variables_.size(); ++i)
      if (auto& known = variables_[i].mention;
          known.label == mention.label && known.which == mention.which) {
        known.least = std::max(known.least, mention.least);
        return i;
      }
    variables_.push_back({mention, false, false, {}, {}, nullptr});
    return variables_.size() - 1;
  }

  bool stands(Relation relation, const Variable& a, std::size_t i, const Variable& b,
              std::size_t j) const {
    if (b.is_background && !(a.is_background && relation == Relation::on))
      return regions_.stands(relation, a.mention.label, a.things[i], b.mention.label);
    if (a.is_background && !b.is_background)
      return regions_.stands_to(relation, a.mention.label, b.mention.label, b.things[j]);
    return holds(relation, a.things[i], b.things[j], height_, b.is_background);
  }

  Table table(Relation relation, const Variable& a, const Variable& b) const {
    Table all(a.things.size(), std::vector<bool>(b.things.size()));
    for (std::size_t i = 0; i < a.things.size(); ++i)
      for (std::size_t j = 0; j < b.things.size(); ++j)
        all[i][j] = stands(relation, a, i, b, j);
    return all;
  }

  // Of `between` four for each of both objects: right of, left of, above, below.
  std::vector<Table> tables(std::size_t at) const {
    const auto& [subject, object, other] = ends_[at];
    const auto relation = required_.relations[at].relation;
    if (relation != Relation::between)
      return {table(relation, variables_[subject], variables_[object])};
    std::vector<Table> all;
    for (const auto end : {object, other.value_or(object)})
      for (const auto one :
           {Relation::right_of, Relation::left_of, Relation::above, Relation::below})
        all.push_back(table(one, variables_[subject], variables_[end]));
    return all;
  }

  bool lies_between(std::size_t at, std::size_t a) const {
    const auto& all = tables_[at];
    const auto object = ends_[at].object, other = ends_[at].other.value_or(object);
    constexpr std::array<std::size_t, 4> opposite{1, 0, 3, 2};
    constexpr std::size_t second = opposite.size();
    const bool may_be_same = variables_[object].mention.label != variables_[other].mention.label;
    for (const auto b : *variables_[object].chosen)
      for (const auto c : *variables_[other].chosen)
        for (std::size_t way = 0; way < second; ++way)
          if ((may_be_same || b != c) && all[way][a][b] && all[second + opposite[way]][a][c])
            return true;
    return false;
  }

  bool is_met(std::size_t at) const {
    const auto& subjects = *variables_[ends_[at].subject].chosen;
    const auto& objects = *variables_[ends_[at].object].chosen;
    if (subjects.empty() || objects.empty())
      return false;
    return std::ranges::all_of(subjects, [&](std::size_t a) {
      if (required_.relations[at].relation == Relation::between)
        return lies_between(at, a);
      return std::ranges::all_of(objects,
                                 [&](std::size_t b) { return bool(tables_[at].front()[a][b]); });
    });
  }

  bool is_taken(std::size_t at, const Chosen& chosen) const {
    for (std::size_t i = 0; i < at; ++i)
      if (variables_[at].is_different &&
          variables_[i].mention.label == variables_[at].mention.label)
        for (const auto one : chosen)
          if (std::ranges::count(*variables_[i].chosen, one) > 0)
            return true;
    return false;
  }

  // Gives instances to the mentions from `at` on. `decided`: relations all of whose ends have
  // theirs.
  void assign(std::size_t at, std::size_t decided, std::vector<bool>& met) {
    const auto good = std::ranges::count(met, true);
    if (at == variables_.size()) {
      if (good > best_met_) {
        best_met_ = good;
        best_ = met;
      }
      return;
    }
    for (const auto& chosen : variables_[at].choices) {
      const auto possible = good + std::ssize(ends_) - static_cast<std::ptrdiff_t>(decided);
      if (possible <= best_met_ || tried_ >= most_combinations)
        return;
      if (is_taken(at, chosen))
        continue;
      ++tried_;
      variables_[at].chosen = &chosen;
      auto next = met;
      auto known = decided;
      for (std::size_t i = 0; i < ends_.size(); ++i)
        if (ends_[i].last() == at) {
          next[i] = is_met(i);
          ++known;
        }
      assign(at + 1, known, next);
    }
  }

  const Requirements& required_;
  Regions regions_;
  int height_;
  std::vector<Variable> variables_;
  std::vector<Ends> ends_;
  std::vector<std::vector<Table>> tables_;  // of each relation
  std::vector<bool> best_;
  std::ptrdiff_t best_met_ = 0;
  int tried_ = 0;
};

}  // namespace

std::vector<bool> met_relations(const Palette& palette, const Requirements& required,
                                const Components& found, const std::vector<bool>& is_there,
                                std::span<const std::uint8_t> labels, int height, int width) {
  return Arrangement(palette, required, found, is_there, labels, height, width).run();
}

}  // namespace fgdm
