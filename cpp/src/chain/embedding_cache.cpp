#include "embedding_cache.hpp"

#include "fgdm/error.hpp"
#include "precision.hpp"
#include "wording.hpp"

namespace fgdm {

Embeddings EmbeddingCache::get(const EncodedText& prompt, Timings& timings) {
  if (const auto found = by_prompt_.find(prompt.text); found != by_prompt_.end()) {
    ++hits_;
    recent_.splice(recent_.begin(), recent_, found->second);
    return recent_.front().embeddings;
  }
  recent_.push_front({prompt.text, encode(prompt, timings)});
  by_prompt_[prompt.text] = recent_.begin();
  ++misses_;
  if (recent_.size() > capacity_) {
    by_prompt_.erase(recent_.back().prompt);
    recent_.pop_back();
  }
  return recent_.front().embeddings;
}

Embeddings EmbeddingCache::encode(const EncodedText& prompt, Timings& timings) {
  const auto& manifest = bundle_.manifest();
  auto ids = prompt.ids;
  auto embeddings = std::make_shared<RowBuffer>(
      graphs_.device(), manifest.context_dtype(),
      std::vector<std::int64_t>{manifest.max_length, manifest.hidden_size}, 1);
  const NamedTensor input{"input_ids", {DType::int64, {1, manifest.max_length}, ids.data()}};
  const NamedTensor output{"encoder_hidden_states", embeddings->view(1)};
  timings.add("text_encoder",
              graphs_.run(manifest.text_encoder, "text_encoder", {&input, 1}, {&output, 1}));
  if (!embeddings->is_finite(1))  // kept, it would spoil every request with this prompt
    throw BackendError("text_encoder: what it made of the prompt \"" + excerpt(prompt.text) +
                       "\" is not finite; " + finer_precision(graphs_.precision()) +
                       "the bundle's text encoder may be damaged");
  return embeddings;
}

}  // namespace fgdm
