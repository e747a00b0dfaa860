#include "components.hpp"

#include <algorithm>
#include <cstring>
#include <utility>

namespace fgdm {
namespace {

using Labels = std::span<const std::uint8_t>;
using Wanted = std::array<bool, 256>;

struct Run {
  int begin, end;  // end: the first pixel beyond it
  std::uint8_t label;
  std::uint32_t component;
};

int run_end(Labels row, int begin) {
  const auto width = static_cast<int>(row.size());
  const std::uint8_t label = row[static_cast<std::size_t>(begin)];
  const std::uint64_t eight = 0x0101010101010101U * label;
  int at = begin + 1;
  for (std::uint64_t next = 0; at + 8 <= width; at += 8) {
    std::memcpy(&next, row.data() + at, 8);
    if (next != eight)
      break;
  }
  while (at < width && row[static_cast<std::size_t>(at)] == label)
    ++at;
  return at;
}

// Components that may turn out to be one; each is known by the first of them.
class Forest {
public:
  std::uint32_t add(std::uint8_t label, const Instance& instance) {
    const auto made = static_cast<std::uint32_t>(parents_.size());
    parents_.push_back(made);
    labels_.push_back(label);
    instances_.push_back(instance);
    return made;
  }

  std::uint32_t root(std::uint32_t of) {
    while (parents_[of] != of)
      of = parents_[of] = parents_[parents_[of]];
    return of;
  }

  std::uint32_t join(std::uint32_t a, std::uint32_t b) {
    a = root(a);
    b = root(b);
    if (a == b)
      return a;
    if (a > b)
      std::swap(a, b);
    parents_[b] = a;
    grow(a, instances_[b]);
    return a;
  }

  void grow(std::uint32_t root, const Instance& by) {
    auto& one = instances_[root];
    one = {one.area + by.area, std::min(one.left, by.left), std::min(one.top, by.top),
           std::max(one.right, by.right), std::max(one.bottom, by.bottom)};
  }

  // Forgets what the components hold, but not which they are.
  void empty(int height, int width) {
    std::ranges::fill(instances_, Instance{0, width, height, 0, 0});
  }

  void give(std::array<std::vector<Instance>, 256>& by_label) const {
    for (std::uint32_t i = 0; i < parents_.size(); ++i)
      if (parents_[i] == i && instances_[i].area > 0)
        by_label[labels_[i]].push_back(instances_[i]);
  }

private:
  std::vector<std::uint32_t> parents_;
  std::vector<std::uint8_t> labels_;
  std::vector<Instance> instances_;
};

// Joins a run to those of the row above that touch it, also diagonally. `first`: of those that can
// touch it or a later run.
void connect(Run& run, int y, const std::vector<Run>& above, std::size_t& first, Forest& forest) {
  const Instance own{static_cast<std::size_t>(run.end - run.begin), run.begin, y, run.end, y + 1};
  while (first < above.size() && above[first].end < run.begin)
    ++first;
  bool joined = false;
  for (std::size_t i = first; i < above.size() && above[i].begin <= run.end; ++i) {
    if (above[i].label != run.label)
      continue;
    run.component =
        joined ? forest.join(run.component, above[i].component) : forest.root(above[i].component);
    joined = true;
  }
  if (joined)
    forest.grow(run.component, own);
  else
    run.component = forest.add(run.label, own);
}

// Calls `visit(row, run)` for each run of a wanted class, once its component is known, and counts
// the pixels of all labels.
template <typename Visit>
void scan(Labels labels, int height, int width, const Wanted& wanted, Forest& forest,
          std::array<std::size_t, 256>& areas, Visit visit) {
  std::vector<Run> above, here;
  for (int y = 0; y < height; ++y) {
    const auto row = labels.subspan(static_cast<std::size_t>(y) * static_cast<std::size_t>(width),
                                    static_cast<std::size_t>(width));
    here.clear();
    std::size_t first = 0;
    for (int begin = 0; begin < width;) {
      Run run{begin, run_end(row, begin), row[static_cast<std::size_t>(begin)], 0};
      areas[run.label] += static_cast<std::size_t>(run.end - run.begin);
      begin = run.end;
      if (!wanted[run.label])
        continue;
      connect(run, y, above, first, forest);
      visit(y, run);
      here.push_back(run);
    }
    above.swap(here);
  }
}

// Of `count` pixels, `step` apart, those that are `reach` pixels or more away from every change of
// label keep theirs; nothing changes beyond the map's edge.
void erode(std::uint8_t* line, int count, std::ptrdiff_t step, int reach) {
  for (int begin = 0; begin < count;) {
    const std::uint8_t label = line[begin * step];
    int end = begin + 1;
    while (end < count && line[end * step] == label)
      ++end;
    const int keep_from = begin == 0 ? begin : begin + reach;
    const int keep_to = end == count ? end : end - reach;
    for (int i = begin; i < end; ++i)
      if (i < keep_from || i >= keep_to)
        line[i * step] = unlabeled;
    begin = end;
  }
}

constexpr std::uint32_t nobody = 0xFFFFFFFFU;

// Gives pixels that are nobody's to the component within reach before them, else behind them.
void spread(std::uint32_t* line, int count, std::ptrdiff_t step, int reach) {
  const std::vector<std::uint32_t> seeds = [&] {
    std::vector<std::uint32_t> copy(static_cast<std::size_t>(count));
    for (int i = 0; i < count; ++i)
      copy[static_cast<std::size_t>(i)] = line[i * step];
    return copy;
  }();
  const auto pass = [&](int from, int to, int direction) {
    int since = reach + 1;
    std::uint32_t last = nobody;
    for (int i = from; i != to; i += direction) {
      const auto seed = seeds[static_cast<std::size_t>(i)];
      since = seed != nobody ? 0 : since + 1;
      if (seed != nobody)
        last = seed;
      else if (since <= reach && line[i * step] == nobody)
        line[i * step] = last;
    }
  };
  pass(0, count, 1);
  pass(count - 1, -1, -1);
}

template <typename Pixel, typename Function>
void for_each_line(std::vector<Pixel>& map, int height, int width, Function function) {
  for (int y = 0; y < height; ++y)
    function(map.data() + static_cast<std::ptrdiff_t>(y) * width, width, std::ptrdiff_t{1});
  for (int x = 0; x < width; ++x)
    function(map.data() + x, height, std::ptrdiff_t{width});
}

// The component of each pixel as the forest knows it, nobody's of classes that aren't wanted.
std::vector<std::uint32_t> find_owners(Labels labels, int height, int width, const Wanted& wanted,
                                       Forest& forest) {
  std::vector<std::uint32_t> owners(labels.size(), nobody);
  auto inner = wanted;
  inner[unlabeled] = false;
  std::array<std::size_t, 256> areas{};
  scan(labels, height, width, inner, forest, areas, [&](int y, const Run& run) {
    const auto row = static_cast<std::size_t>(y) * static_cast<std::size_t>(width);
    std::fill(owners.begin() + static_cast<std::ptrdiff_t>(row) + run.begin,
              owners.begin() + static_cast<std::ptrdiff_t>(row) + run.end, run.component);
  });
  return owners;
}

// Morphological opening with a square: what is eroded is told apart, and grown back.
std::vector<std::uint32_t> find_opened(Labels labels, int height, int width, const Wanted& wanted,
                                       int opening, Forest& forest) {
  std::vector<std::uint8_t> eroded(labels.begin(), labels.end());
  for_each_line(eroded, height, width, [&](std::uint8_t* line, int count, std::ptrdiff_t step) {
    erode(line, count, step, opening);
  });
  auto owners = find_owners(eroded, height, width, wanted, forest);
  for_each_line(owners, height, width, [&](std::uint32_t* line, int count, std::ptrdiff_t step) {
    spread(line, count, step, opening);
  });
  return owners;
}

Components open_and_find(Labels labels, int height, int width, const Wanted& wanted, int opening) {
  Components found;
  Forest forest;
  const auto owners = find_opened(labels, height, width, wanted, opening, forest);
  forest.empty(height, width);
  for (int y = 0, i = 0; y < height; ++y)
    for (int x = 0; x < width; ++x, ++i)
      if (const auto owner = owners[static_cast<std::size_t>(i)]; owner != nobody)
        forest.grow(forest.root(owner), {1, x, y, x + 1, y + 1});
  for (const auto label : labels)
    ++found.areas[label];
  forest.give(found.instances);
  return found;
}

}  // namespace

Components find_components(Labels labels, int height, int width, const Wanted& wanted,
                           int opening) {
  if (opening > 0)
    return open_and_find(labels, height, width, wanted, opening);
  Components found;
  Forest forest;
  scan(labels, height, width, wanted, forest, found.areas, [](int, const Run&) {});
  forest.give(found.instances);
  return found;
}

std::vector<std::uint32_t> number_components(Labels labels, int height, int width,
                                             const Wanted& wanted, int opening) {
  Forest forest;
  auto numbers = opening > 0 ? find_opened(labels, height, width, wanted, opening, forest)
                             : find_owners(labels, height, width, wanted, forest);
  std::vector<std::uint32_t> number_of;
  std::uint32_t last = 0;
  for (auto& pixel : numbers) {
    if (pixel == nobody) {
      pixel = 0;
      continue;
    }
    const auto root = forest.root(pixel);
    if (root >= number_of.size())
      number_of.resize(root + std::size_t{1}, 0);
    if (number_of[root] == 0)
      number_of[root] = ++last;
    pixel = number_of[root];
  }
  return numbers;
}

}  // namespace fgdm
