#include "policy.hpp"

#include <algorithm>
#include <limits>
#include <set>
#include <tuple>

#include "fgdm/error.hpp"

namespace fgdm {
namespace {

// Pictures, and whatever waits for a decoder, are nearer to their end than maps: at equal demand
// they get four fifths of the time.
constexpr double image_weight = 4.0;

// Of a picture's step, what a batch of maps between two of them may take. Requests that join are
// encoded there too, and together with them it stays below half a step.
constexpr double share_of_step = 0.4;

// Full batches between two tries of larger ones, at most.
constexpr int longest_wait = 10000;

int worthwhile_rows(const std::map<int, double>& times) {
  double best = std::numeric_limits<double>::infinity();
  for (const auto& [rows, seconds] : times)
    best = std::min(best, seconds / rows);
  const auto is_good = [&](const auto& entry) { return entry.second / entry.first <= 1.03 * best; };
  return std::ranges::find_if(times, is_good)->first;  // ascending
}

// Of a batch of so many rows, between and beyond those that were timed.
double seconds_of(const std::map<int, double>& times, int rows) {
  const auto above = times.lower_bound(rows);
  if (above == times.end())
    return times.rbegin()->second * rows / times.rbegin()->first;
  if (above->first == rows || above == times.begin())
    return above->second * std::min(1.0, static_cast<double>(rows) / above->first);
  const auto below = std::prev(above);
  const double share = static_cast<double>(rows - below->first) / (above->first - below->first);
  return below->second + share * (above->second - below->second);
}

bool is_starving(const Waiting& waiting) {
  return waiting.passed_over >= Policy::patience;
}

bool is_step_of_picture(const Waiting& waiting) {
  return waiting.is_image && !waiting.resolution.decodes;
}

// Whose clock a graph's is: the steps of one picture may go through two graphs in turns.
Resolution size_of(const Resolution& resolution) {
  return {resolution.height, resolution.width, {}, resolution.decodes};
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
      seconds_[{times.latent_height, times.latent_width, times.backbone}] = times.seconds;
}

// If memory doesn't matter.
int Policy::wanted_rows(Resolution resolution) const {
  if (resolution.decodes)
    return std::min(max_batch_rows_, decoded_rows);
  const auto found = seconds_.find(resolution);
  return found == seconds_.end() ? max_batch_rows_
                                 : std::min(max_batch_rows_, worthwhile_rows(found->second));
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
    int passed_over = 0;
    bool has_step_of_picture = false;
  };
  std::map<Resolution, Queue> queues;
  std::set<Resolution> sizes;
  for (const auto& one : waiting) {
    auto& queue = queues[one.resolution];
    queue.starving |= is_starving(one);
    queue.priority = std::max(queue.priority, one.priority);
    queue.rows += one.rows;
    queue.passed_over = std::max(queue.passed_over, one.passed_over);
    queue.has_step_of_picture |= is_step_of_picture(one);
    sizes.insert(size_of(one.resolution));
  }
  // A size that was idle doesn't save up time: it starts where the others are.
  double now = std::numeric_limits<double>::infinity();
  for (const auto& [size, clock] : clocks_)
    if (sizes.contains(size))
      now = std::min(now, clock);
  std::erase_if(clocks_, [&](const auto& entry) { return !sizes.contains(entry.first); });
  for (const auto& size : sizes)
    clocks_.try_emplace(size, now == std::numeric_limits<double>::infinity() ? 0.0 : now);

  const auto rank_of = [&](const auto& entry) {
    const auto& [resolution, queue] = entry;
    const int most = most_rows(resolution);
    const double filled = throughput_ ? static_cast<double>(std::min(queue.rows, most)) / most : 0;
    const bool is_late =
        queue.has_step_of_picture && spare_seconds({}, waiting, queue.priority) <= 0.0;
    return std::tuple(!queue.starving, -queue.priority, -filled, !is_late,
                      clocks_.at(size_of(resolution)), !resolution.decodes, -queue.passed_over);
  };
  return std::ranges::min_element(queues, {}, rank_of)->first;
}

// With "latency", the seconds that other work may still take before the next step of the pictures
// of that priority, or a higher one, that wait at other resolutions than this one; infinity, where
// none does.
double Policy::spare_seconds(Resolution resolution, std::span<const Waiting> waiting,
                             int priority) const {
  double spare = std::numeric_limits<double>::infinity();
  if (throughput_)
    return spare;
  for (const auto& one : waiting)
    if (is_step_of_picture(one) && one.resolution != resolution && one.priority >= priority)
      if (const auto found = row_seconds_.find(one.resolution); found != row_seconds_.end())
        spare = std::min(spare, share_of_step * one.rows * found->second - since_picture_);
  return spare;
}

// The rows of maps, or of a decoder, that the pictures have time for. Pictures don't make each
// other's batches small.
int Policy::rows_beside_pictures(Resolution resolution, std::span<const Waiting> waiting) const {
  const auto own = row_seconds_.find(resolution);
  if (own == row_seconds_.end() || own->second <= 0.0)
    return max_batch_rows_;
  if (std::ranges::any_of(waiting, [&](const Waiting& one) {
        return one.is_image && one.resolution == resolution;
      }))
    return max_batch_rows_;
  int priority = std::numeric_limits<int>::min();
  for (const auto& one : waiting)
    if (one.resolution == resolution)
      priority = std::max(priority, one.priority);
  const double rows = spare_seconds(resolution, waiting, priority) / own->second;
  return static_cast<int>(std::clamp<double>(rows, 0, max_batch_rows_));
}

// With "latency", the most rows of a batch in which so many are those of the request that goes
// first, as far as the batch times tell.
int Policy::rows_of_company(Resolution resolution, int own_rows) const {
  const auto found = seconds_.find(resolution);
  if (throughput_ || found == seconds_.end())
    return max_batch_rows_;
  const auto& times = found->second;
  const double most = company * seconds_of(times, own_rows);
  int rows = own_rows;
  while (rows < max_batch_rows_ && seconds_of(times, rows + 1) <= most)
    ++rows;
  return rows;
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

  int own_rows = 0;  // of the request that goes first
  for (const auto i : order)
    if (waiting[i].order == waiting[order.front()].order)
      own_rows += waiting[i].rows;
  const int most =
      std::min({most_rows(resolution), rows_beside_pictures(resolution, waiting),
                rows_of_company(resolution, std::min(own_rows, most_rows(resolution)))});
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
  clocks_[size_of(resolution)] += seconds * (1.0 - light + light / image_weight);
  since_picture_ = !resolution.decodes && image_share > 0 ? 0.0 : since_picture_ + seconds;
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
