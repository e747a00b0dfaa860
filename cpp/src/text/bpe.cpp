#include "bpe.hpp"

#include <cstddef>
#include <functional>
#include <queue>
#include <tuple>

#include "fgdm/error.hpp"
#include "files.hpp"
#include "unicode.hpp"
#include "wording.hpp"

namespace fgdm {

namespace {

constexpr int none = -1;

// A part of the word, in a linked list over a vector.
struct Part {
  int id;
  int previous;
  int next;
  bool is_merged;  // into the part before it
};

// A merge that can be done, or could when it was queued.
struct Neighbours {
  int rank;
  int position;  // of the left part
  int id;        // of the result

  bool operator>(const Neighbours& other) const {
    return std::tie(rank, position) > std::tie(other.rank, other.position);
  }
};

std::uint64_t pair_key(int left, int right) {
  return (std::uint64_t{static_cast<std::uint32_t>(left)} << 32) |
         static_cast<std::uint32_t>(right);
}

// GPT-2's alphabet: bytes that print in Latin-1 stand for themselves, the others follow from
// U+0100.
std::array<char32_t, 256> byte_alphabet() {
  std::array<char32_t, 256> result{};
  char32_t next = 0x100;
  for (char32_t byte = 0; byte < 256; ++byte) {
    const bool prints = (byte > 0x20 && byte < 0x7F) || (byte > 0xA0 && byte != 0xAD);
    result[byte] = prints ? byte : next++;
  }
  return result;
}

}  // namespace

BytePairEncoder::BytePairEncoder(const Vocabulary& vocabulary,
                                 const std::vector<std::pair<std::string, std::string>>& merges,
                                 int unknown) {
  const auto id_or_unknown = [&](const std::string& token) {
    const auto found = vocabulary.find(token);
    return found == vocabulary.end() ? unknown : found->second;
  };
  const std::array<char32_t, 256> alphabet = byte_alphabet();
  for (std::size_t byte = 0; byte < alphabet.size(); ++byte) {
    std::string token;
    unicode::append_utf8(alphabet[byte], token);
    inner_ids_[byte] = id_or_unknown(token);
    final_ids_[byte] = id_or_unknown(token + "</w>");
  }

  merges_.reserve(merges.size());
  for (std::size_t rank = 0; rank < merges.size(); ++rank) {
    const std::string& left = merges[rank].first;
    const std::string& right = merges[rank].second;
    const auto id = [&](const std::string& token) {
      const auto found = vocabulary.find(token);
      if (found == vocabulary.end())
        throw BundleError("tokenizer: merges.txt joins \"" + excerpt(left) + "\" and \"" +
                          excerpt(right) + "\", but vocab.json lacks \"" + excerpt(token) +
                          "\"; take both files from the same tokenizer");
      return found->second;
    };
    merges_[pair_key(id(left), id(right))] = {static_cast<int>(rank), id(left + right)};
  }
}

const BytePairEncoder::Merge* BytePairEncoder::find(int left, int right) const {
  const auto found = merges_.find(pair_key(left, right));
  return found == merges_.end() ? nullptr : &found->second;
}

void BytePairEncoder::encode(std::string_view word, std::vector<int>& ids) const {
  const int size = static_cast<int>(word.size());
  std::vector<Part> parts;
  parts.reserve(word.size());
  for (int i = 0; i < size; ++i) {
    const auto byte = static_cast<unsigned char>(word[static_cast<std::size_t>(i)]);
    const bool is_last = i + 1 == size;
    parts.push_back(
        {is_last ? final_ids_[byte] : inner_ids_[byte], i - 1, is_last ? none : i + 1, false});
  }
  const auto part = [&](int position) -> Part& {
    return parts[static_cast<std::size_t>(position)];
  };

  // The merge of least rank is done first, the leftmost of equals.
  std::priority_queue<Neighbours, std::vector<Neighbours>, std::greater<>> queue;
  const auto propose = [&](int left, int right) {
    if (left == none || right == none)
      return;
    if (const Merge* merge = find(part(left).id, part(right).id); merge != nullptr)
      queue.push({merge->rank, left, merge->id});
  };
  for (int i = 0; i + 1 < size; ++i)
    propose(i, i + 1);

  while (!queue.empty()) {
    const Neighbours top = queue.top();
    queue.pop();
    Part& left = part(top.position);
    if (left.is_merged || left.next == none)
      continue;
    Part& right = part(left.next);
    const Merge* merge = find(left.id, right.id);
    if (merge == nullptr || merge->id != top.id)
      continue;  // the parts have changed since it was queued
    left.id = top.id;
    left.next = right.next;
    right.is_merged = true;
    if (left.next != none)
      part(left.next).previous = top.position;
    propose(left.previous, top.position);
    propose(top.position, left.next);
  }
  for (const Part& remaining : parts)
    if (!remaining.is_merged)
      ids.push_back(remaining.id);
}

}  // namespace fgdm
