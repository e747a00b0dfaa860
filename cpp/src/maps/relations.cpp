#include <algorithm>
#include <array>
#include <cmath>
#include <map>

#include "fgdm/compliance.hpp"

namespace fgdm {
namespace {

constexpr std::array<std::string_view, 10> names{"left of",     "right of", "above",  "below",
                                                 "on",          "under",    "beside", "between",
                                                 "in front of", "behind"};

double center_x(const Instance& box) {
  return (box.left + box.right) / 2.0;
}

double center_y(const Instance& box) {
  return (box.top + box.bottom) / 2.0;
}

double width(const Instance& box) {
  return box.right - box.left;
}

double height(const Instance& box) {
  return box.bottom - box.top;
}

struct Offset {
  double x, y;
};

// From b to a, less a tenth of both extents, in lengths of the whole offset: GenEval's position.
Offset position(const Instance& a, const Instance& b) {
  constexpr double margin = 0.1;
  const double x = center_x(a) - center_x(b), y = center_y(a) - center_y(b);
  const double length = std::hypot(x, y);
  if (length == 0.0)
    return {0.0, 0.0};
  const auto left_over = [&](double offset, double extents) {
    return std::copysign(std::max(std::abs(offset) - margin * extents, 0.0), offset) / length;
  };
  return {left_over(x, width(a) + width(b)), left_over(y, height(a) + height(b))};
}

constexpr double enough = 0.5;  // of the offset's length

bool is_across(const Instance& a, const Instance& b) {
  return std::abs(center_x(a) - center_x(b)) <= std::max(width(a), width(b)) / 2.0;
}

bool is_beside(const Instance& a, const Instance& b) {
  const int gap = std::max(a.left, b.left) - std::min(a.right, b.right);
  return std::abs(position(a, b).x) > enough && a.top < b.bottom && b.top < a.bottom &&
         gap <= std::max(width(a), width(b));
}

bool is_on(const Instance& a, const Instance& b, bool b_is_background) {
  return is_across(a, b) && a.bottom > b.top && a.bottom <= b.bottom &&
         (b_is_background || center_y(a) < center_y(b));
}

}  // namespace

std::string_view relation_name(Relation relation) {
  return names.at(static_cast<std::size_t>(relation));
}

std::optional<Relation> relation_of(std::string_view name) {
  const auto found = std::ranges::find(names, name);
  if (found == names.end())
    return std::nullopt;
  return static_cast<Relation>(found - names.begin());
}

ClassMentions mentions_of(const Requirements& requirements, int label) {
  std::map<int, int> least;  // by mention
  const auto count = [&](const Mention& end) {
    if (end.label == label)
      least[end.which] = std::max(least[end.which], end.least);
  };
  for (const auto& relation : requirements.relations) {
    count(relation.subject);
    count(relation.object);
    count(relation.other.value_or(relation.object));
  }
  int sum = 0, required = 1;
  for (const auto& mention : least)
    sum += mention.second;
  for (const auto& one : requirements.counts)
    if (one.label == label)
      required = one.least;
  const int number = static_cast<int>(least.size());
  return {number, number > 1 && sum <= required, number == 1 ? required : 1};
}

bool holds(Relation relation, const Instance& a, const Instance& b, int map_height,
           bool b_is_background) {
  const double step = 0.02 * map_height;
  switch (relation) {
  case Relation::left_of:
    return position(a, b).x < -enough;
  case Relation::right_of:
    return position(a, b).x > enough;
  case Relation::above:
    return position(a, b).y < -enough;
  case Relation::below:
    return position(a, b).y > enough;
  case Relation::on:
    return is_on(a, b, b_is_background);
  case Relation::under:
    return is_across(a, b) && position(a, b).y > 0.0;
  case Relation::beside:
    return is_beside(a, b);
  case Relation::in_front_of:
    return is_across(a, b) && a.bottom - b.bottom > step;
  case Relation::behind:
    return is_across(a, b) && b.bottom - a.bottom > step;
  case Relation::between:
    break;
  }
  return false;
}

}  // namespace fgdm
