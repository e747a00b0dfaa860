// A libFuzzer target: any bytes as a prompt either encode to max_length ids or are refused.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "fgdm/error.hpp"
#include "fgdm/tokenizer.hpp"
#include "temp_folder.hpp"
#include "tokenizer_fixture.hpp"

namespace {

constexpr int max_length = 16;

fgdm::Tokenizer make_tokenizer() {
  const fgdm::testing::TempFolder folder;
  fgdm::testing_support::write_tokenizer(
      folder.path(), {{"a", "b"}, {"ab", "ab"}, {"a", "a"}, {"aa", "b</w>"}, {"!", "!</w>"}});
  fgdm::testing_support::write(folder / "tokenizer_config.json", R"({"pad_token": "!",
      "bos_token": {"content": "<|startoftext|>", "normalized": true}})");
  const auto tokenizer = fgdm::Tokenizer::load(folder.path(), max_length);
  return tokenizer;
}

void require(bool condition) {
  if (!condition)
    std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const fgdm::Tokenizer tokenizer = make_tokenizer();
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  try {
    const auto ids = tokenizer.encode(text);
    require(ids.size() == max_length);
    require(std::all_of(ids.begin(), ids.end(), [](auto id) { return id >= 0 && id < 600; }));
    require(std::count(ids.begin() + 1, ids.end(), ids.front()) <= max_length);
    const std::size_t num_tokens = tokenizer.tokenize(text).size();
    require(num_tokens <= 2 * size + 2);
  } catch (const fgdm::RequestError&) {
  }
  return 0;
}
