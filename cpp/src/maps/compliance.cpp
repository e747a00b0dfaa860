#include "fgdm/compliance.hpp"

#include <algorithm>

#include "components.hpp"
#include "fgdm/error.hpp"
#include "relation_check.hpp"
#include "wording.hpp"

namespace fgdm {
namespace {

void check(std::span<const std::uint8_t> labels, int height, int width,
           const CheckOptions& options) {
  constexpr int widest_opening = 64;
  if (height < 1 || width < 1 ||
      labels.size() != static_cast<std::size_t>(height) * static_cast<std::size_t>(width))
    throw RequestError("the label map has " + shown(labels.size()) + " pixels, expected " +
                       shown(height) + " x " + shown(width) + ", at least one");
  if (!(options.min_area >= 0.0 && options.min_area <= 1.0))
    throw RequestError("min_area is " + shown(options.min_area) +
                       ", expected a fraction of the map from 0 to 1");
  if (options.opening < 0 || options.opening > widest_opening)
    throw RequestError("opening is " + shown(options.opening) + ", expected 0 to " +
                       shown(widest_opening) + " pixels");
}

// One map, and what is required of it.
class Check {
public:
  Check(const Palette& palette, std::span<const std::uint8_t> labels, int height, int width,
        const Requirements& required, const CheckOptions& options)
      : palette_(palette), labels_(labels), required_(required), options_(options), height_(height),
        width_(width), pixels_(static_cast<double>(labels.size())),
        found_(find_components(labels, height, width, wanted(), options.opening)) {
    for (auto& boxes : found_.instances) {
      if (boxes.empty())
        continue;
      std::erase_if(boxes, [&](const Instance& box) { return !is_large(box.area); });
      std::ranges::stable_sort(boxes, std::greater<>{}, &Instance::area);
    }
  }

  MapCompliance run() {
    MapCompliance result;
    std::size_t checked = 0, met = 0;
    const auto share = [&](const auto& all, auto is_met) {
      std::size_t good = 0;
      for (const auto& one : all) {
        const bool is_good = is_met(one);
        good += is_good ? 1 : 0;
        result.met.push_back(is_good ? Met::yes : Met::no);
      }
      checked += all.size();
      met += good;
      return all.empty() ? 1.0 : static_cast<double>(good) / static_cast<double>(all.size());
    };
    result.presence = share(required_.present, [&](int label) { return is_there(label); });
    result.counts = share(required_.counts, [&](const auto& count) { return is_met(count); });
    const auto relations =
        met_relations(palette_, required_, found_, there(), labels_, height_, width_);
    std::size_t next = 0;
    result.relations =
        share(required_.relations, [&](const auto&) { return bool(relations[next++]); });
    result.absences = share(required_.absent, [&](int label) { return !is_there(label); });
    result.met.insert(result.met.end(), required_.colors.size() + required_.attributes.size(),
                      Met::unchecked);
    if (checked > 0)
      result.compliance = static_cast<double>(met) / static_cast<double>(checked);
    return result;
  }

private:
  std::array<bool, 256> wanted() const {
    std::array<bool, 256> all{};
    const auto want = [&](int label) { all.at(static_cast<std::size_t>(label)) = true; };
    for (const auto& count : required_.counts)
      want(count.label);
    for (const auto& relation : required_.relations) {
      want(relation.subject.label);
      want(relation.object.label);
      want(relation.other.value_or(relation.object).label);
    }
    return all;
  }

  bool is_large(std::size_t area) const {
    return area > 0 && static_cast<double>(area) / pixels_ >= options_.min_area;
  }

  bool is_there(int label) const { return is_large(found_.areas[static_cast<std::size_t>(label)]); }

  std::vector<bool> there() const {
    std::vector<bool> all;
    for (const auto area : found_.areas)
      all.push_back(is_large(area));
    return all;
  }

  const std::vector<Instance>& instances(int label) const {
    return found_.instances[static_cast<std::size_t>(label)];
  }

  bool is_met(const CountRequirement& count) const {
    const auto seen = std::ssize(instances(count.label));
    return seen >= count.least && (!count.most || seen <= *count.most);
  }

  const Palette& palette_;
  std::span<const std::uint8_t> labels_;
  const Requirements& required_;
  const CheckOptions& options_;
  int height_, width_;
  double pixels_;
  Components found_;
};

}  // namespace

std::vector<Instance> find_instances(std::span<const std::uint8_t> labels, int height, int width,
                                     int label, const CheckOptions& options) {
  check(labels, height, width, options);
  std::array<bool, 256> wanted{};
  wanted.at(static_cast<std::size_t>(label)) = true;
  auto boxes = std::move(find_components(labels, height, width, wanted, options.opening)
                             .instances[static_cast<std::size_t>(label)]);
  std::erase_if(boxes, [&](const Instance& box) {
    return static_cast<double>(box.area) / static_cast<double>(labels.size()) < options.min_area;
  });
  std::ranges::stable_sort(boxes, std::greater<>{}, &Instance::area);
  return boxes;
}

std::vector<std::uint32_t> number_instances(std::span<const std::uint8_t> labels, int height,
                                            int width, const CheckOptions& options) {
  check(labels, height, width, options);
  std::array<bool, 256> wanted;
  wanted.fill(true);
  auto numbers = number_components(labels, height, width, wanted, options.opening);
  std::vector<std::size_t> areas;
  for (const auto number : numbers) {
    if (number >= areas.size())
      areas.resize(number + std::size_t{1}, 0);
    ++areas[number];
  }
  std::vector<std::uint32_t> kept(areas.size(), 0);
  std::uint32_t last = 0;
  for (std::size_t number = 1; number < areas.size(); ++number)
    if (static_cast<double>(areas[number]) / static_cast<double>(labels.size()) >= options.min_area)
      kept[number] = ++last;
  for (auto& number : numbers)
    number = kept[number];
  return numbers;
}

MapCompliance check_map(const Palette& palette, std::span<const std::uint8_t> labels, int height,
                        int width, const Requirements& requirements, const CheckOptions& options) {
  check(labels, height, width, options);
  return Check(palette, labels, height, width, requirements, options).run();
}

std::string refusal(const Palette& palette, std::span<const std::uint8_t> labels,
                    std::span<const MapFilter> filters) {
  if (filters.empty())
    return {};
  std::array<std::size_t, 256> areas{};
  for (const auto label : labels)
    ++areas[label];
  for (const auto& filter : filters) {
    const bool all = std::ranges::all_of(filter.classes, [&](int label) {
      const auto area = areas.at(static_cast<std::size_t>(label));
      return area > 0 &&
             static_cast<double>(area) / static_cast<double>(labels.size()) >= filter.min_area;
    });
    if (!all)
      continue;
    std::vector<std::string> names;
    for (const int label : filter.classes)
      names.push_back(palette.classes().at(static_cast<std::size_t>(label)).name);
    return joined(names, " with ");
  }
  return {};
}

}  // namespace fgdm
