#include "texts.hpp"

#include <algorithm>
#include <iterator>

#include "editing_options.hpp"
#include "fgdm/error.hpp"
#include "fgdm/objects.hpp"
#include "request.hpp"
#include "wording.hpp"

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

void read_objects(FactorTexts& texts, const Palette& palette, const Request& request,
                  const FactorOptions& options, std::size_t read) {
  if (options.objects) {
    if (request.requirements)
      throw RequestError("objects and requirements are both given; name the classes in "
                         "requirements, under \"objects\"");
    texts.requested = texts.required.present = resolve_objects(palette, *options.objects);
    return;
  }
  if (request.requirements) {
    texts.required = parse_requirements(palette, *request.requirements);
    texts.requested = texts.required.present;
    texts.excluded = texts.required.absent;
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
  auto understood = find_requirements(palette, prompt.substr(0, read), request.articles_count);
  texts.required = std::move(understood.requirements);
  texts.not_understood = std::move(understood.unread);
}

// No map can have a class from `min_area` on and not have it.
void check_contradiction(const Palette& palette, const std::vector<int>& requested,
                         const std::vector<MapFilter>& filters, double min_area) {
  for (const auto& [classes, area] : filters)
    if (const int label = classes.front();
        area <= min_area && std::ranges::count(classes, label) == std::ssize(classes) &&
        std::ranges::count(requested, label) > 0)
      throw RequestError("forbid has " +
                         palette.classes().at(static_cast<std::size_t>(label)).name +
                         ", which the request requires too; drop one of the two");
}

void read_filters(FactorTexts& texts, const Palette& palette, const Request& request,
                  const FactorSpec& factor, const std::string& policy) {
  if (!policy.empty())
    texts.filters = parse_filters(palette, policy, factor.min_area);
  if (request.forbid.empty())
    return;
  const auto& options = request.factors.at(factor.name);
  auto filters = parse_filters(palette, request.forbid, *options.min_area);
  if (options.objects || request.requirements)
    check_contradiction(palette, texts.requested, filters, *options.min_area);
  std::ranges::move(filters, std::back_inserter(texts.filters));
}

// The class that an edit is confined to, in the palette of the map that says where it is; -1: none.
int region_class(const Edit& edit, std::size_t index, const Request& request,
                 const FactorSpec& factor, const Bundle& bundle) {
  if (edit.region.empty())
    return -1;
  const FactorSpec* map = nullptr;
  for (const auto& other : bundle.manifest().factors)
    if (other.makes_labels() &&
        (other.name == factor.name || (factor.is_image && !is_left_out(request, other))))
      map = &other;
  if (map == nullptr)
    throw RequestError("edits[" + std::to_string(index) + "] region is \"" + excerpt(edit.region) +
                       "\", but there is no map with classes that says where it is; give a mask");
  const auto& palette = bundle.palette(map->palette);
  try {
    return resolve_objects(palette, {edit.region}).front();
  } catch (const RequestError&) {
    std::vector<std::string> names;
    for (const auto& entry : palette.classes())
      names.push_back(entry.name);
    throw RequestError("edits[" + std::to_string(index) + "] region is \"" + excerpt(edit.region) +
                       "\", which is no class of this map; it has: " + joined(names, ", "));
  }
}

// Where a text's own tokens begin among those that are read after the beginning token and `prefix`,
// and how many they are.
std::pair<int, int> own_tokens(const Tokenizer& tokenizer, const std::string& prefix,
                               const std::string& text) {
  const auto count = [&](const std::string& words) {
    return static_cast<int>(tokenizer.tokenize(words).size());
  };
  const int before = count(prefix), room = tokenizer.max_length() - 2 - before;
  return {1 + before, std::clamp(count(prefix + text) - before, 0, std::max(room, 0))};
}

// What needs a map that can be checked.
void check_labels(const Request& request, const std::string& policy) {
  const char* option = request.requirements                     ? "requirements"
                       : request.select == SelectBy::compliance ? "select=\"compliance\""
                       : request.select == SelectBy::callback   ? "a select callback"
                       : !request.forbid.empty()                ? "forbid"
                                                                : nullptr;
  if (option != nullptr)
    throw RequestError(std::string(option) + " is given, but no factor that makes labels is part "
                                             "of this request, so that no map can be checked; "
                                             "leave the option out, or the factor in");
  if (!policy.empty())
    throw RequestError("this engine forbids classes, so every request needs a map on which that "
                       "can be checked; don't leave out the factor that makes labels");
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

RequestTexts read_texts(const Request& resolved, const Bundle& bundle, const std::string& policy) {
  const auto& tokenizer = bundle.tokenizer();
  const auto encoded = [&](std::string text) {
    auto ids = tokenizer.encode(text);
    return EncodedText{std::move(text), std::move(ids)};
  };
  const auto edit_texts = [&](const FactorSpec& factor, const std::vector<Edit>& edits) {
    std::vector<EditText> read;
    for (std::size_t i = 0; i < edits.size(); ++i) {
      const auto& edit = edits[i];
      const auto [first, tokens] = own_tokens(tokenizer, factor.prompt_prefix, edit.prompt);
      if (edit.attention && tokens == 0)
        throw RequestError("edits[" + std::to_string(i) +
                           "] attention is set, but the text "
                           "encoder reads none of its prompt's tokens; leave attention out");
      read.push_back({encoded(factor.prompt_prefix + edit.prompt + factor.prompt_suffix),
                      region_class(edit, i, resolved, factor, bundle), first, tokens});
    }
    return read;
  };
  RequestTexts texts;
  std::size_t least_read = resolved.prompt.size();
  bool has_labels = false;
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
    if (const auto* editing = editing_of(resolved, factor)) {
      const auto& source = editing->settings;
      entry.negative_prompt = encoded(source.negative_prompt);
      entry.prompt = source.prompt.empty()
                         ? entry.negative_prompt
                         : encoded(factor.prompt_prefix + source.prompt + factor.prompt_suffix);
      entry.edits = edit_texts(factor, editing->edits);
      edit_texts(factor, editing->following);  // refuses what isn't allowed
    }
    if (negative != resolved.negative_prompt)
      entry.negative_truncated = negative.substr(bytes_read(tokenizer, "", negative));
    const auto read = bytes_read(tokenizer, factor.prompt_prefix, prompt);
    if (prompt == resolved.prompt)
      least_read = std::min(least_read, read);
    else
      entry.truncated = prompt.substr(read);
    if (!factor.makes_labels())
      continue;
    has_labels = true;
    const auto& palette = bundle.palette(factor.palette);
    read_objects(entry, palette, resolved, *options, read);
    read_filters(entry, palette, resolved, factor, policy);
  }
  if (!has_labels)
    check_labels(resolved, policy);
  texts.truncated = resolved.prompt.substr(least_read);
  texts.negative_truncated =
      resolved.negative_prompt.substr(bytes_read(tokenizer, "", resolved.negative_prompt));
  return texts;
}

void check_policy(const std::string& policy, const Bundle& bundle) {
  if (policy.empty())
    return;
  bool has_labels = false;
  for (const auto& factor : bundle.manifest().factors)
    if (factor.makes_labels()) {
      parse_filters(bundle.palette(factor.palette), policy, factor.min_area);
      has_labels = true;
    }
  if (!has_labels)
    throw RequestError("forbid is given, but no factor of this bundle makes labels, on which it "
                       "could be checked; leave it out");
}

}  // namespace fgdm
