#pragma once

#include <string>
#include <string_view>

// The little of Unicode that the tokenizer needs. Which characters are letters, how they lower and
// how they compose follow unicode_tables.inc.
namespace fgdm::unicode {

// Throws RequestError with the offset of the first byte that is not well-formed UTF-8.
std::u32string decode_utf8(std::string_view text);

void append_utf8(char32_t character, std::string& text);

bool is_letter(char32_t character);  // \p{L}
bool is_number(char32_t character);  // \p{N}
bool is_space(char32_t character);   // \s

// Lowers every character by itself: no rule looks at its neighbours (a final sigma stays one).
std::u32string lowercase(std::u32string_view text);

// Normalization Form C (Unicode Standard Annex 15).
std::u32string nfc(std::u32string_view text);

}  // namespace fgdm::unicode
