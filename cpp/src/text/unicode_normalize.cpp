#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <unordered_map>
#include <vector>

#include "unicode.hpp"
#include "unicode_tables.hpp"

namespace fgdm::unicode {

namespace {

// Below this all characters are starters that decompose into what composes to them again.
constexpr char32_t first_combining = 0x300;

// Hangul syllables compose by arithmetic (Unicode, section 3.12).
constexpr char32_t syllable_base = 0xAC00;
constexpr char32_t lead_base = 0x1100;
constexpr char32_t vowel_base = 0x1161;
constexpr char32_t tail_base = 0x11A7;  // one before the first tail
constexpr char32_t num_leads = 19;
constexpr char32_t num_vowels = 21;
constexpr char32_t num_tails = 28;  // counts "no tail"
constexpr char32_t num_syllables = num_leads * num_vowels * num_tails;

struct Symbol {
  char32_t character;
  unsigned char combining_class;
};

bool is_within(char32_t character, char32_t base, char32_t count) {
  return character >= base && character - base < count;
}

void append_decomposed(char32_t character, std::vector<Symbol>& out) {
  if (is_within(character, syllable_base, num_syllables)) {
    const char32_t index = character - syllable_base;
    out.push_back({lead_base + index / (num_vowels * num_tails), 0});
    out.push_back({vowel_base + index / num_tails % num_vowels, 0});
    if (index % num_tails != 0)
      out.push_back({tail_base + index % num_tails, 0});
    return;
  }
  const Decomposition* row = find_row(decompositions, character);
  if (row != nullptr && row->first == character) {
    append_decomposed(row->left, out);
    if (row->right != 0)
      append_decomposed(row->right, out);
    return;
  }
  const ClassRange* range = find_range(combining_classes, character);
  out.push_back(
      {character, range == nullptr ? static_cast<unsigned char>(0) : range->combining_class});
}

// Sorts each run of combining marks by class and leaves the order within a class.
void reorder(std::vector<Symbol>& symbols) {
  const auto is_mark = [](const Symbol& symbol) { return symbol.combining_class != 0; };
  for (auto begin = std::find_if(symbols.begin(), symbols.end(), is_mark);
       begin != symbols.end();) {
    const auto end = std::find_if_not(begin, symbols.end(), is_mark);
    std::stable_sort(begin, end, [](const Symbol& a, const Symbol& b) {
      return a.combining_class < b.combining_class;
    });
    begin = std::find_if(end, symbols.end(), is_mark);
  }
}

std::uint64_t pair_key(char32_t left, char32_t right) {
  return (std::uint64_t{left} << 32) | right;
}

// The character that the pair composes to, or 0.
char32_t compose(char32_t left, char32_t right) {
  static const auto compositions = [] {
    std::unordered_map<std::uint64_t, char32_t> result;
    for (const Decomposition& row : decompositions)
      if (row.composes)
        result.emplace(pair_key(row.left, row.right), row.first);
    return result;
  }();
  if (is_within(left, lead_base, num_leads) && is_within(right, vowel_base, num_vowels))
    return syllable_base + ((left - lead_base) * num_vowels + (right - vowel_base)) * num_tails;
  if (is_within(left, syllable_base, num_syllables) && (left - syllable_base) % num_tails == 0 &&
      is_within(right, tail_base + 1, num_tails - 1))
    return left + (right - tail_base);
  const auto found = compositions.find(pair_key(left, right));
  return found == compositions.end() ? 0 : found->second;
}

std::u32string recompose(const std::vector<Symbol>& symbols) {
  std::u32string result;
  std::size_t starter = std::u32string::npos;
  int last_class = -1;  // of the characters kept since the starter; -1 if there are none
  for (const Symbol& symbol : symbols) {
    if (starter != std::u32string::npos && last_class < symbol.combining_class) {
      if (const char32_t composed = compose(result[starter], symbol.character); composed != 0) {
        result[starter] = composed;
        continue;
      }
    }
    if (symbol.combining_class == 0) {
      starter = result.size();
      last_class = -1;
    } else {
      last_class = symbol.combining_class;
    }
    result += symbol.character;
  }
  return result;
}

}  // namespace

std::u32string nfc(std::u32string_view text) {
  const auto is_simple = [](char32_t character) { return character < first_combining; };
  if (std::all_of(text.begin(), text.end(), is_simple))
    return std::u32string(text);
  std::vector<Symbol> symbols;
  symbols.reserve(text.size());
  for (const char32_t character : text)
    append_decomposed(character, symbols);
  reorder(symbols);
  return recompose(symbols);
}

}  // namespace fgdm::unicode
