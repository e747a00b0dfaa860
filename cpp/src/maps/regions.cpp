#include "regions.hpp"

#include <algorithm>
#include <vector>

namespace fgdm {
namespace {

struct Range {
  int first, last;  // the first beyond it
};

// Where all but a twentieth on each side of what is counted lies.
Range middle(const std::vector<std::size_t>& counts, std::size_t all) {
  constexpr std::size_t part = 20;
  const auto left_out = all / part;
  Range range{0, static_cast<int>(counts.size())};
  for (std::size_t seen = 0; range.first < range.last; ++range.first)
    if ((seen += counts[static_cast<std::size_t>(range.first)]) > left_out)
      break;
  for (std::size_t seen = 0; range.last > range.first; --range.last)
    if ((seen += counts[static_cast<std::size_t>(range.last) - 1]) > left_out)
      break;
  return range;
}

}  // namespace

std::size_t Regions::count(int label, int left, int top, int right, int bottom) const {
  left = std::max(left, 0);
  right = std::min(right, width_);
  std::size_t found = 0;
  for (int y = std::max(top, 0); y < std::min(bottom, height_); ++y) {
    const auto row = labels_.subspan(static_cast<std::size_t>(y) * static_cast<std::size_t>(width_),
                                     static_cast<std::size_t>(width_));
    found += static_cast<std::size_t>(
        std::count(row.begin() + left, row.begin() + std::max(left, right), label));
  }
  return found;
}

Instance Regions::box(int label, int left, int top, int right, int bottom) const {
  std::vector<std::size_t> rows(static_cast<std::size_t>(height_)),
      columns(static_cast<std::size_t>(width_));
  std::size_t all = 0;
  for (int y = top; y < bottom; ++y)
    for (int x = left; x < right; ++x)
      if (labels_[static_cast<std::size_t>(y) * static_cast<std::size_t>(width_) +
                  static_cast<std::size_t>(x)] == label) {
        ++rows[static_cast<std::size_t>(y)];
        ++columns[static_cast<std::size_t>(x)];
        ++all;
      }
  if (all == 0)
    return {0, 0, 0, 0, 0};
  const auto across = middle(columns, all), down = middle(rows, all);
  return {all, across.first, down.first, across.last, down.last};
}

Instance Regions::facing(Relation relation, int background, const Instance& thing) const {
  const bool is_sideways = relation == Relation::left_of || relation == Relation::right_of;
  const auto part = is_sideways ? box(background, 0, thing.top, width_, thing.bottom)
                                : box(background, thing.left, 0, thing.right, height_);
  return part.area > 0 ? part : whole(background);
}

bool Regions::carries(int background, int thing_label, const Instance& thing) const {
  constexpr double margin = 0.02;
  const int reach = std::max(1, static_cast<int>(margin * height_));
  const int left = thing.left - reach, top = thing.bottom - reach, right = thing.right + reach,
            bottom = thing.bottom + reach;
  const auto area = static_cast<std::size_t>(std::min(right, width_) - std::max(left, 0)) *
                    static_cast<std::size_t>(std::min(bottom, height_) - std::max(top, 0));
  const auto around = area - count(thing_label, left, top, right, bottom);
  const auto held = count(background, left, top, right, bottom);
  constexpr std::size_t part = 4;
  return held > 0 && held * part >= around;
}

bool Regions::is_near(int background, const Instance& thing) const {
  const int reach = std::max(1, std::max(thing.right - thing.left, thing.bottom - thing.top) / 2);
  const int left = std::max(thing.left - reach, 0), top = std::max(thing.top - reach, 0),
            right = std::min(thing.right + reach, width_),
            bottom = std::min(thing.bottom + reach, height_);
  const auto area = static_cast<std::size_t>(right - left) * static_cast<std::size_t>(bottom - top);
  constexpr std::size_t part = 20;
  return count(background, left, top, right, bottom) * part >= area;
}

bool Regions::stands(Relation relation, int thing_label, const Instance& thing,
                     int background) const {
  if (relation == Relation::on)
    return carries(background, thing_label, thing);
  if (relation == Relation::beside)
    return is_near(background, thing) && !carries(background, thing_label, thing);
  return holds(relation, thing, facing(relation, background, thing), height_);
}

bool Regions::stands_to(Relation relation, int background, int thing_label,
                        const Instance& thing) const {
  if (relation == Relation::beside)
    return stands(relation, thing_label, thing, background);
  return holds(relation, facing(relation, background, thing), thing, height_);
}

}  // namespace fgdm
