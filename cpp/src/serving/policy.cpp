#include "policy.hpp"

#include <algorithm>
#include <limits>
#include <tuple>

#include "fgdm/error.hpp"

namespace fgdm {
namespace {

// Pictures, and whatever waits for a decoder, are nearer to their end than maps: at equal demand
// they get four fifths of the time.
constexpr double image_weight = 4.0;

// Full batches between two tries of larger ones, at most.
constexpr int longest_wait = 10000;

int worthwhile_rows(const BatchTimes& times) {
  double best = std::numeric_limits<double>::infinity();
  for (const auto& [rows, seconds] : times.seconds)
    best = std::min(best, seconds / rows);
  const auto is_good = [&](const auto& entry) { return entry.second / entry.first <= 1.03 * best; };
  return std::ranges::find_if(times.seconds, is_good)->first;  // ascending
}

bool is_starving(const Waiting& waiting) {
  return waiting.passed_over >= Policy::patience;
}

// The order within a resolution: smaller goes first.
auto rank(const Waiting& waiting, bool images_first) {
  return std::tuple(!is_starving(waiting), -waiting.priority, images_first && !waiting.is_image,
                    waiting.order, waiting.step);
}

}  // namespace

Policy::Policy(const std::string& kind, int max_batch_rows, std::vector<BatchTimes> batch_times)
    : throughput_(kind == "throughput"), max_batch_rows_(max_batch_rows) {
  if (kind != "latency" && kind != "throughput")
    throw RequestError("policy is \"" + kind + "\", expected \"latency\" or \"throughput\"");
  for (const auto& times : batch_times)
    if (!times.seconds.empty())
      worthwhile_[{times.latent_height, times.latent_width, times.backbone}] =
          worthwhile_rows(times);
}

// If memory doesn't matter.
int Policy::wanted_rows(Resolution resolution) const {
  if (resolution.decodes)
    return std::min(max_batch_rows_, decoded_rows);
  const auto found = worthwhile_.find(resolution);
  return found == worthwhile_.end() ? max_batch_rows_ : std::min(max_batch_rows_, found->second);
}

int Policy::most_rows(Resolution resolution) const {
  const int wanted = wanted_rows(resolution);
  const auto found = memory_.find(resolution);
  return found == memory_.end() || found->second.rows == 0 ? wanted
                                                           : std::min(wanted, found->second.rows);
}

Resolution Policy::next_resolution(std::span<const Waiting> waiting) {
  struct Queue {
    bool starving = false;
    int priority = std::numeric_limits<int>::min();
    int rows = 0;
  };
  std::map<Resolution, Queue> queues;
  for (const auto& one : waiting) {
    auto& queue = queues[one.resolution];
    queue.starving |= is_starving(one);
    queue.priority = std::max(queue.priority, one.priority);
    queue.rows += one.rows;
  }
  // A resolution that was idle doesn't save up time: it starts where the others are.
  double now = std::numeric_limits<double>::infinity();
  for (const auto& [resolution, clock] : clocks_)
    if (queues.contains(resolution))
      now = std::min(now, clock);
  std::erase_if(clocks_, [&](const auto& entry) { return !queues.contains(entry.first); });
  for (const auto& [resolution, queue] : queues)
    clocks_.try_emplace(resolution, now == std::numeric_limits<double>::infinity() ? 0.0 : now);

  const auto rank_of = [&](const auto& entry) {
    const auto& [resolution, queue] = entry;
    const int most = most_rows(resolution);
    const double filled = throughput_ ? static_cast<double>(std::min(queue.rows, most)) / most : 0;
    return std::tuple(!queue.starving, -queue.priority, -filled, clocks_.at(resolution),
                      !resolution.decodes);
  };
  return std::ranges::min_element(queues, {}, rank_of)->first;
}

// With "latency", the rows of maps that take half as long as the next step of the pictures that
// wait at other resolutions. Pictures don't make each other's batches small.
int Policy::rows_beside_pictures(Resolution resolution, std::span<const Waiting> waiting) const {
  const auto own = row_seconds_.find(resolution);
  if (throughput_ || own == row_seconds_.end() || own->second <= 0.0)
    return max_batch_rows_;
  if (std::ranges::any_of(waiting, [&](const Waiting& one) {
        return one.is_image && one.resolution == resolution;
      }))
    return max_batch_rows_;
  double rows = max_batch_rows_;
  for (const auto& one : waiting)
    if (one.is_image && !one.resolution.decodes && one.resolution != resolution)
      if (const auto found = row_seconds_.find(one.resolution); found != row_seconds_.end())
        rows = std::min(rows, 0.5 * one.rows * found->second / own->second);
  return static_cast<int>(rows);
}

std::vector<std::size_t> Policy::choose(std::span<const Waiting> waiting) {
  if (waiting.empty())
    return {};
  const auto resolution = next_resolution(waiting);
  std::vector<std::size_t> order;
  for (std::size_t i = 0; i < waiting.size(); ++i)
    if (waiting[i].resolution == resolution)
      order.push_back(i);
  std::ranges::stable_sort(order, {},
                           [&](std::size_t i) { return rank(waiting[i], !throughput_); });

  const int most = std::min(most_rows(resolution), rows_beside_pictures(resolution, waiting));
  std::vector<std::size_t> chosen;
  int rows = 0;
  for (const auto i : order) {
    rows += waiting[i].rows;
    if (!chosen.empty() && rows > most)
      break;
    chosen.push_back(i);
  }
  return chosen;
}

void Policy::served(Resolution resolution, int rows, double image_share, double seconds) {
  row_seconds_[resolution] = seconds / rows;
  const double light = throughput_ ? 0.0 : resolution.decodes ? 1.0 : image_share;
  clocks_[resolution] += seconds * (1.0 - light + light / image_weight);
}

void Policy::ran_out_of_memory(Resolution resolution, int rows) {
  const int fits = std::max(1, std::min(most_rows(resolution), rows / 2));
  const auto [found, is_first] = memory_.try_emplace(resolution);
  auto& memory = found->second;
  memory.rows = fits;
  memory.fitted = 0;
  if (!is_first)
    memory.wait = std::min(2 * memory.wait, longest_wait);
}

void Policy::fitted(Resolution resolution, int rows) {
  const auto found = memory_.find(resolution);
  if (found == memory_.end() || found->second.rows == 0 || rows < found->second.rows)
    return;
  auto& memory = found->second;
  if (++memory.fitted < memory.wait)
    return;
  memory.fitted = 0;
  memory.rows *= 2;
  if (memory.rows >= wanted_rows(resolution))
    memory.rows = 0;
}

}  // namespace fgdm
