#pragma once

#include <algorithm>
#include <cstddef>
#include <iterator>

namespace fgdm::unicode {

// Rows of the tables; all are sorted by their first member and `last` is inclusive.
struct Range {
  char32_t first;
  char32_t last;
};

struct CaseRange {
  char32_t first;
  char32_t last;
  char32_t stride;  // every stride-th character from `first` on
  int delta;        // becomes itself + delta
};

struct ClassRange {
  char32_t first;
  char32_t last;
  unsigned char combining_class;
};

struct Decomposition {
  char32_t first;  // the character
  char32_t left;
  char32_t right;  // 0 if it decomposes to `left` alone
  bool composes;   // left + right become the character again
};

#include "unicode_tables.inc"

// The last row that starts at or before `character`, or null.
template <typename Row, std::size_t N>
const Row* find_row(const Row (&rows)[N], char32_t character) {
  const auto after = std::upper_bound(std::begin(rows), std::end(rows), character,
                                      [](char32_t c, const Row& row) { return c < row.first; });
  return after == std::begin(rows) ? nullptr : std::prev(after);
}

// The row that covers `character`, or null.
template <typename Row, std::size_t N>
const Row* find_range(const Row (&rows)[N], char32_t character) {
  const Row* row = find_row(rows, character);
  return row != nullptr && character <= row->last ? row : nullptr;
}

}  // namespace fgdm::unicode
