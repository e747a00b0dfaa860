#include "texts.hpp"

#include <algorithm>

#include "fgdm/objects.hpp"
#include "request.hpp"

namespace fgdm {
namespace {

bool is_space(char c) {
  return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

// Where a text can be cut: before white space, and before a character that isn't ASCII, as there
// are languages that set no spaces.
bool can_be_cut(std::string_view text, std::size_t at) {
  return at == text.size() || (is_space(text[at]) && !is_space(text[at - 1])) ||
         static_cast<unsigned char>(text[at]) >= 0xC0U;
}

std::vector<int> without(std::vector<int> indices, const std::vector<int>& others) {
  std::erase_if(indices, [&](int index) { return std::ranges::count(others, index) > 0; });
  return indices;
}

void read_objects(FactorTexts& texts, const Palette& palette, const FactorOptions& options,
                  std::size_t read) {
  if (options.objects) {
    texts.requested = resolve_objects(palette, *options.objects);
    return;
  }
  const std::string_view prompt = *options.prompt;
  auto objects = find_objects(palette, prompt.substr(0, read));
  if (read < prompt.size())
    texts.unread = without(find_objects(palette, prompt).requested, objects.requested);
  texts.requested = std::move(objects.requested);
  texts.excluded = std::move(objects.excluded);
  texts.unrecognized = std::move(objects.unrecognized);
  texts.unrecognized_omitted = objects.unrecognized_omitted;
}

}  // namespace

std::size_t bytes_read(const Tokenizer& tokenizer, const std::string& prefix,
                       std::string_view text) {
  const auto fits = [&](std::size_t size) {
    return tokenizer.fits(prefix + std::string(text.substr(0, size)));
  };
  if (fits(text.size()))
    return text.size();
  std::vector<std::size_t> cuts;  // so many, and twice as many, until one doesn't fit
  std::size_t wanted = 64;
  for (std::size_t at = 1; at <= text.size(); ++at) {
    if (can_be_cut(text, at))
      cuts.push_back(at);
    if (cuts.size() == wanted) {
      if (!fits(at))
        break;
      wanted *= 2;
    }
  }
  const auto first_out = std::ranges::partition_point(cuts, fits);
  return first_out == cuts.begin() ? 0 : *std::prev(first_out);
}

RequestTexts read_texts(const Request& resolved, const Bundle& bundle) {
  const auto& tokenizer = bundle.tokenizer();
  const auto encoded = [&](std::string text) {
    auto ids = tokenizer.encode(text);
    return EncodedText{std::move(text), std::move(ids)};
  };
  RequestTexts texts;
  std::size_t least_read = resolved.prompt.size();
  for (const auto& factor : bundle.manifest().factors) {
    auto& entry = texts.factors.emplace_back();
    if (is_left_out(resolved, factor))
      continue;
    const FactorOptions* options = factor.is_image ? nullptr : &resolved.factors.at(factor.name);
    const auto& prompt = options == nullptr ? resolved.prompt : *options->prompt;
    entry.prompt = encoded(factor.prompt_prefix + prompt + factor.prompt_suffix);
    const auto& negative =
        options == nullptr ? resolved.negative_prompt : *options->negative_prompt;
    entry.negative_prompt = encoded(negative);
    if (negative != resolved.negative_prompt)
      entry.negative_truncated = negative.substr(bytes_read(tokenizer, "", negative));
    const auto read = bytes_read(tokenizer, factor.prompt_prefix, prompt);
    if (prompt == resolved.prompt)
      least_read = std::min(least_read, read);
    else
      entry.truncated = prompt.substr(read);
    if (factor.makes_labels())
      read_objects(entry, bundle.palette(factor.palette), *options, read);
  }
  texts.truncated = resolved.prompt.substr(least_read);
  texts.negative_truncated =
      resolved.negative_prompt.substr(bytes_read(tokenizer, "", resolved.negative_prompt));
  return texts;
}

}  // namespace fgdm
