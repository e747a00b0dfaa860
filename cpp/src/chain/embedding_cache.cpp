#include "embedding_cache.hpp"

#include <algorithm>

#include "fgdm/error.hpp"
#include "precision.hpp"
#include "wording.hpp"

namespace fgdm {
namespace {

// Of one call of the text encoder: most chains' texts, and little beside a step of the backbone.
constexpr std::size_t most_rows = 8;

}  // namespace

std::vector<Embeddings> EmbeddingCache::get(const std::vector<Wanted>& wanted) {
  std::vector<Wanted> missing;
  std::unordered_map<std::string, Embeddings> found;
  for (const auto& one : wanted) {
    const auto key = key_of(one);
    const auto kept = by_key_.find(key);
    if (kept != by_key_.end())
      recent_.splice(recent_.begin(), recent_, kept->second);
    const auto [entry, is_first] =
        found.try_emplace(key, kept == by_key_.end() ? nullptr : kept->second->embeddings);
    if (is_first && !entry->second)
      missing.push_back(one);
  }
  for (std::size_t first = 0; first < missing.size(); first += most_rows) {
    const auto together =
        std::span(missing).subspan(first, std::min(most_rows, missing.size() - first));
    const auto made = encode(together);
    for (std::size_t i = 0; i < made.size(); ++i) {
      const auto key = key_of(together[i]);
      keep(key, made[i]);
      found.at(key) = made[i];
    }
  }
  misses_ += static_cast<std::int64_t>(missing.size());
  hits_ += static_cast<std::int64_t>(wanted.size() - missing.size());
  std::vector<Embeddings> all;
  for (const auto& one : wanted)
    all.push_back(found.at(key_of(one)));
  return all;
}

// The text, and the bytes of the scales of LoRAs that change its embeddings. A text may hold any
// bytes, so its length comes first.
std::string EmbeddingCache::key_of(const Wanted& wanted) const {
  const auto& text = wanted.text->text;
  const auto scales = loras_.that_count(bundle_.manifest().text_encoder, wanted.loras);
  auto key = std::to_string(text.size()) + " " + text;
  for (const auto byte : std::as_bytes(std::span(scales)))
    key += static_cast<char>(byte);
  return key;
}

// As the most recently used; what wasn't used for longest makes room.
void EmbeddingCache::keep(const std::string& key, Embeddings embeddings) {
  recent_.push_front({key, std::move(embeddings)});
  by_key_[key] = recent_.begin();
  if (recent_.size() > capacity_) {
    by_key_.erase(recent_.back().key);
    recent_.pop_back();
  }
}

std::vector<Embeddings> EmbeddingCache::encode(std::span<const Wanted> wanted) {
  const auto& manifest = bundle_.manifest();
  const auto rows = wanted.size();
  const std::vector<std::int64_t> row_shape{manifest.max_length, manifest.hidden_size};
  std::vector<std::int64_t> ids;
  for (const auto& one : wanted)
    ids.insert(ids.end(), one.text->ids.begin(), one.text->ids.end());
  const RowBuffer made(graphs_.device(), manifest.context_dtype(), row_shape, rows);
  std::vector<NamedTensor> inputs{
      {"input_ids",
       {DType::int64, {static_cast<std::int64_t>(rows), manifest.max_length}, ids.data()}}};
  std::vector<const LoraScales*> scales;
  for (const auto& one : wanted)
    scales.push_back(&one.loras);
  const NamedTensor output{"encoder_hidden_states", made.view(rows)};
  const auto& graph = manifest.text_encoder;
  loras_.add_inputs(graph, scales, inputs);
  const double seconds = graphs_.run(graph, "text_encoder", inputs, {&output, 1});
  const bool all_sound = made.is_finite(rows);
  std::vector<Embeddings> embeddings;
  for (std::size_t row = 0; row < rows; ++row) {
    wanted[row].timings->add("text_encoder", seconds / static_cast<double>(rows));
    if (!all_sound &&
        !made.is_finite(1, row))  // kept, it would spoil every request with this prompt
      throw BackendError("text_encoder: what it made of the prompt \"" +
                         excerpt(wanted[row].text->text) + "\" is not finite; " +
                         finer_precision(graphs_.precision()) +
                         "the bundle's text encoder may be damaged");
    RowBuffer own(graphs_.device(), manifest.context_dtype(), row_shape, 1);
    own.copy_row(made, row, 0);
    embeddings.push_back(std::make_shared<RowBuffer>(std::move(own)));
  }
  return embeddings;
}

}  // namespace fgdm
