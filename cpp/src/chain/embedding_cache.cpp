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
    const auto& text = one.text->text;
    const auto kept = by_prompt_.find(text);
    if (kept != by_prompt_.end())
      recent_.splice(recent_.begin(), recent_, kept->second);
    const auto [entry, is_first] =
        found.try_emplace(text, kept == by_prompt_.end() ? nullptr : kept->second->embeddings);
    if (is_first && !entry->second)
      missing.push_back(one);
  }
  for (std::size_t first = 0; first < missing.size(); first += most_rows) {
    const auto together =
        std::span(missing).subspan(first, std::min(most_rows, missing.size() - first));
    const auto made = encode(together);
    for (std::size_t i = 0; i < made.size(); ++i) {
      keep(together[i].text->text, made[i]);
      found.at(together[i].text->text) = made[i];
    }
  }
  misses_ += static_cast<std::int64_t>(missing.size());
  hits_ += static_cast<std::int64_t>(wanted.size() - missing.size());
  std::vector<Embeddings> all;
  for (const auto& one : wanted)
    all.push_back(found.at(one.text->text));
  return all;
}

// As the most recently used; what wasn't used for longest makes room.
void EmbeddingCache::keep(const std::string& prompt, Embeddings embeddings) {
  recent_.push_front({prompt, std::move(embeddings)});
  by_prompt_[prompt] = recent_.begin();
  if (recent_.size() > capacity_) {
    by_prompt_.erase(recent_.back().prompt);
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
  const NamedTensor input{
      "input_ids",
      {DType::int64, {static_cast<std::int64_t>(rows), manifest.max_length}, ids.data()}};
  const NamedTensor output{"encoder_hidden_states", made.view(rows)};
  const auto& graph = manifest.text_encoder;
  const double seconds = graphs_.run(graph, "text_encoder", {&input, 1}, {&output, 1});
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
