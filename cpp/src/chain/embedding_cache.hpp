#pragma once

#include <cstdint>
#include <list>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "factor_run.hpp"
#include "fgdm/bundle.hpp"
#include "loras.hpp"
#include "texts.hpp"

namespace fgdm {

// Encodes prompts, each only once with the same LoRAs while it is among the most recently used
// ones.
class EmbeddingCache {
public:
  EmbeddingCache(const Bundle& bundle, Graphs& graphs, Loras& loras, std::size_t capacity)
      : bundle_(bundle), graphs_(graphs), loras_(loras), capacity_(capacity) {}

  // A text, where the seconds that it takes are booked, and how LoRAs change its encoder.
  struct Wanted {
    const EncodedText* text;
    Timings* timings;
    LoraScales loras = {};
  };

  // The embeddings of texts, in their order; those that aren't kept are encoded together. Throws
  // what the text encoder throws, and BackendError if what it makes is not finite; nothing of a
  // failed call is kept.
  std::vector<Embeddings> get(const std::vector<Wanted>& wanted);

  std::int64_t hits() const { return hits_; }
  std::int64_t misses() const { return misses_; }

private:
  struct Entry {
    std::string key;
    Embeddings embeddings;
  };

  std::vector<Embeddings> encode(std::span<const Wanted> wanted);
  std::string key_of(const Wanted& wanted) const;
  void keep(const std::string& key, Embeddings embeddings);

  const Bundle& bundle_;
  Graphs& graphs_;
  Loras& loras_;
  std::size_t capacity_;
  std::list<Entry> recent_;  // the most recently used first
  std::unordered_map<std::string, std::list<Entry>::iterator> by_key_;
  std::int64_t hits_ = 0, misses_ = 0;
};

}  // namespace fgdm
