#pragma once

#include <filesystem>
#include <fstream>
#include <string>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

namespace fgdm::testing_support {

using Merges = std::vector<std::pair<std::string, std::string>>;

// The characters of GPT-2's byte alphabet, by byte, as UTF-8.
inline std::vector<std::string> byte_characters() {
  std::vector<std::string> result;
  unsigned next = 0x100;
  for (unsigned byte = 0; byte < 256; ++byte) {
    const bool prints =
        (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
    const unsigned code = prints ? byte : next++;
    std::string character;
    if (code < 0x80) {
      character += static_cast<char>(code);
    } else {
      character += static_cast<char>(0xC0U | (code >> 6));
      character += static_cast<char>(0x80U | (code & 0x3FU));
    }
    result.push_back(character);
  }
  return result;
}

// A vocabulary in CLIP's order: bytes, bytes that end a word, merges, beginning, end.
inline nlohmann::json make_vocabulary(const Merges& merges) {
  nlohmann::json result = nlohmann::json::object();
  const auto add = [&](const std::string& token) {
    if (!result.contains(token)) {
      const std::size_t id = result.size();
      result[token] = id;
    }
  };
  for (const std::string& character : byte_characters())
    add(character);
  for (const std::string& character : byte_characters())
    add(character + "</w>");
  for (const auto& [left, right] : merges)
    add(left + right);
  add("<|startoftext|>");
  add("<|endoftext|>");
  return result;
}

inline void write(const std::filesystem::path& file, const std::string& content) {
  std::ofstream(file, std::ios::binary) << content;
}

// Writes vocab.json and merges.txt.
inline void write_tokenizer(const std::filesystem::path& folder, const Merges& merges) {
  std::filesystem::create_directories(folder);
  write(folder / "vocab.json", make_vocabulary(merges).dump());
  std::string lines = "#version: 0.2\n";
  for (const auto& [left, right] : merges)
    lines += left + " " + right + "\n";
  write(folder / "merges.txt", lines);
}

}  // namespace fgdm::testing_support
