#pragma once

#include <compare>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "fgdm/engine.hpp"

namespace fgdm {

// The size of latents, and the graph they go through; rows of the same can share a batch.
struct Resolution {
  int height, width;    // cells
  std::string graph{};  // a factor's own backbone, a shallow one or a decoder; "" = the shared one
  bool decodes = false;

  auto operator<=>(const Resolution&) const = default;
};

// What the policy knows of a trajectory that can take a step, or of latents that wait for a
// decoder.
struct Waiting {
  Resolution resolution;
  bool is_image;       // and not a map
  int rows;            // that its step needs, 1 or 2; 1 to be decoded
  int priority;        // the request's
  std::int64_t order;  // of the request; those that came earlier have a smaller one
  int step;            // steps taken
  int passed_over;     // batches since it could have been in one
};

// Decides what the next batch holds, of a backbone or of a decoder.
//
// Sizes of latents share the device by start-time fair queueing (Goyal et al.): each has a virtual
// clock that runs while it is served, and the one that is furthest behind goes next; of its graphs,
// the one that somebody waits for the longest. Within a resolution
// rows go by priority, then images before maps (latency), then requests in the order they came,
// then candidates that are behind. Whatever was passed over `patience` times goes first, whatever
// its priority.
//
// With "latency", company costs the request that goes first little: by the batch times, a batch
// with rows of others takes at most `company` times as long as its own rows alone. And what runs
// between two steps of a picture takes two fifths of a step, if batches that small can be made.
class Policy {
public:
  static constexpr int patience = 200;
  // Full batches that fit, after the first lack of memory, before larger ones are tried again.
  static constexpr int first_wait = 50;
  // Of the time of the first request's rows alone, what a batch may take.
  static constexpr double company = 1.3;
  // The most rows of a decoder's batch: whoever waits for a step waits that long.
  static constexpr int decoded_rows = 4;

  // `kind` as in EngineOptions::policy; RequestError for any other word.
  Policy(const std::string& kind, int max_batch_rows, std::vector<BatchTimes> batch_times);

  // Indices into `waiting` of one resolution's next batch: at least one, if there is any.
  std::vector<std::size_t> choose(std::span<const Waiting> waiting);

  // A batch of so many rows, of which images were the fraction `image_share`, took so long.
  void served(Resolution resolution, int rows, double image_share, double seconds);

  // Something that is no batch took so long while everyone waited.
  void held_up(double seconds) { since_picture_ += seconds; }

  // Memory ran out with so many rows: batches at this resolution stay smaller, until so many of
  // that size have fitted that somebody else may have given memory back. Each time that was wrong,
  // twice as many are waited for.
  void ran_out_of_memory(Resolution resolution, int rows);

  // A batch of so many rows found the memory it needs.
  void fitted(Resolution resolution, int rows);

  // The rows that a batch at this resolution may have: the fewest whose measured time per row is
  // within 3 % of the best. More would only delay everyone.
  int most_rows(Resolution resolution) const;

private:
  // What is learnt of a resolution where memory ran out.
  struct Memory {
    int rows = 0;    // that fit; 0: as many as are asked for
    int fitted = 0;  // full batches since
    int wait = first_wait;
  };

  Resolution next_resolution(std::span<const Waiting> waiting);
  double spare_seconds(Resolution resolution, std::span<const Waiting> waiting, int priority) const;
  int rows_beside_pictures(Resolution resolution, std::span<const Waiting> waiting) const;
  int rows_of_company(Resolution resolution, int own_rows) const;
  int wanted_rows(Resolution resolution) const;

  bool throughput_;
  int max_batch_rows_;
  std::map<Resolution, std::map<int, double>> seconds_;  // the batch times
  std::map<Resolution, Memory> memory_;
  std::map<Resolution, double> clocks_;       // seconds of service, weighed; of no graph
  std::map<Resolution, double> row_seconds_;  // of the last batch
  double since_picture_ = 0.0;                // seconds of other work since a picture's last step
};

}  // namespace fgdm
