#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

namespace fgdm {

using Vocabulary = std::unordered_map<std::string, int>;

// Byte pair encoding of one word (Sennrich, Haddow and Birch, "Neural Machine Translation of Rare
// Words with Subword Units", section 3.2) over GPT-2's byte alphabet, with "</w>" closing each
// word.
class BytePairEncoder {
public:
  // `merges` in order of priority. Throws BundleError if a merge's parts or result are not in the
  // vocabulary. A byte that is not in the vocabulary becomes `unknown`.
  BytePairEncoder(const Vocabulary& vocabulary,
                  const std::vector<std::pair<std::string, std::string>>& merges, int unknown);

  // Appends the ids of a non-empty word. Takes O(n log n) for n bytes.
  void encode(std::string_view word, std::vector<int>& ids) const;

private:
  struct Merge {
    int rank;
    int id;
  };

  const Merge* find(int left, int right) const;

  std::array<int, 256> inner_ids_;  // of a byte inside a word
  std::array<int, 256> final_ids_;  // of a word's last byte
  std::unordered_map<std::uint64_t, Merge> merges_;
};

}  // namespace fgdm
