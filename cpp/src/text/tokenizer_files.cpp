#include "tokenizer_files.hpp"

#include <charconv>
#include <cstddef>
#include <map>
#include <set>
#include <sstream>

#include <nlohmann/json.hpp>

#include "fgdm/error.hpp"
#include "wording.hpp"

namespace fgdm {

namespace {

using nlohmann::json;

// A file of the tokenizer's folder.
struct File {
  const TreeFolder& folder;
  std::string name;

  bool is_there() const { return folder.files->has(folder.inner(name)); }
  std::string text() const { return read_text(*folder.files, folder.inner(name)); }
};

[[noreturn]] void fail(const File& file, const std::string& what,
                       const std::string& advice = "copy the model's tokenizer folder again") {
  throw BundleError("tokenizer: " + file.folder.files->place(file.folder.inner(file.name)) + " " +
                    excerpt(what, 500) + "; " + advice);
}

json read_object(const File& file) {
  const auto text = file.text();
  json result;
  try {
    result = parse_json(text);
  } catch (const BundleError& error) {
    fail(file, std::string("can't be used: ") + error.what());
  }
  if (!result.is_object())
    fail(file, "is not a JSON object");
  return result;
}

json read_object_if_exists(const File& file) {
  return file.is_there() ? read_object(file) : json::object();
}

Vocabulary read_vocabulary(const File& file) {
  Vocabulary result;
  std::set<int> ids;
  const json object = read_object(file);
  for (const auto& [token, id] : object.items()) {
    if (!id.is_number_integer() || id < 0 || id >= max_vocabulary_size)
      fail(file, "gives \"" + excerpt(token) + "\" an id that is not an integer from 0 to " +
                     std::to_string(max_vocabulary_size - 1));
    if (!ids.insert(id.get<int>()).second)
      fail(file,
           "gives \"" + excerpt(token) + "\" the id " + id.dump() + ", which another token has");
    result.emplace(token, id.get<int>());
  }
  return result;
}

std::vector<std::pair<std::string, std::string>> read_merges(const File& file) {
  std::vector<std::pair<std::string, std::string>> result;
  std::istringstream stream(file.text());
  std::string line;
  for (std::size_t number = 1; std::getline(stream, line); ++number) {
    if (line.ends_with('\r'))
      line.pop_back();
    if (line.starts_with("#version"))
      continue;
    const std::size_t space = line.find(' ');
    if (space == std::string::npos || line.find(' ', space + 1) != std::string::npos)
      fail(file, "line " + std::to_string(number) + " is not two tokens with a space between them");
    result.emplace_back(line.substr(0, space), line.substr(space + 1));
  }
  return result;
}

struct AddedToken {
  std::string text;
  bool is_normalized;
  bool takes_space_before = false;
  bool takes_space_after = false;
};

// A token in a configuration file: its text, or an object with "content" and its rules.
AddedToken parse_token(const File& file, const json& value, bool is_special) {
  if (value.is_string() && !value.get_ref<const std::string&>().empty())
    return {value.get<std::string>(), false};
  const auto text = value.is_object() ? value.find("content") : value.end();
  if (text == value.end() || !text->is_string() || text->get_ref<const std::string&>().empty())
    fail(file, "has a special token that is neither a text nor an object with \"content\"");
  const auto flag = [&](const char* key, bool otherwise) {
    const auto found = value.find(key);
    if (found == value.end())
      return otherwise;
    if (!found->is_boolean())
      fail(file, std::string("has a special token whose \"") + key + "\" is not true or false");
    return found->get<bool>();
  };
  if (flag("single_word", false))
    fail(file,
         "has the special token \"" + text->get<std::string>() +
             "\" with \"single_word\": true, which is not supported",
         "set it to false");
  return {text->get<std::string>(), flag("normalized", !flag("special", is_special)),
          flag("lstrip", false), flag("rstrip", false)};
}

// A key of "added_tokens_decoder".
int parse_id(const File& file, const std::string& text) {
  int id = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), id);
  if (error != std::errc() || end != text.data() + text.size() || id < 0 ||
      id >= max_vocabulary_size)
    fail(file, "has \"" + text + "\" in \"added_tokens_decoder\", which is not an id from 0 to " +
                   std::to_string(max_vocabulary_size - 1));
  return id;
}

void check_supported(const File& file, const json& config) {
  for (const char* key : {"additional_special_tokens", "extra_special_tokens"})
    if (config.contains(key) && !config.at(key).empty())
      fail(file, std::string("has \"") + key + "\", which is not supported", "remove it");
  for (const char* key : {"padding_side", "truncation_side"})
    if (config.contains(key) && config.at(key) != "right")
      fail(file, std::string("has a \"") + key + "\" other than \"right\", which is not supported",
           "remove it");
}

// The named special tokens and all tokens to look for inside a text.
struct Tokens {
  std::map<std::string, std::string> named;  // such as "pad_token"
  std::map<std::string, AddedToken> added;   // by text
  std::map<std::string, int> ids;            // that "added_tokens_decoder" gives, by text
};

// transformers reads tokenizer_config.json first. Its "added_tokens_decoder", if there is one, says
// which tokens are looked for and how; if not, special_tokens_map.json overrides the named tokens.
// Of several names for one text the last in the order below says how it is looked for.
Tokens read_tokens(const TreeFolder& folder) {
  const File config_file{folder, "tokenizer_config.json"};
  const File map_file{folder, "special_tokens_map.json"};
  if (const File added{folder, "added_tokens.json"}; added.is_there())
    fail(added, "is not supported", "remove it and have the tokens in vocab.json");
  const json config = read_object_if_exists(config_file);
  check_supported(config_file, config);

  Tokens result;
  const json decoder = config.value("added_tokens_decoder", json::object());
  if (!decoder.is_object())
    fail(config_file, "has an \"added_tokens_decoder\" that is not an object");
  for (const auto& [id, value] : decoder.items()) {
    const AddedToken token = parse_token(config_file, value, false);
    result.added[token.text] = token;
    result.ids[token.text] = parse_id(config_file, id);
  }
  const json map =
      config.contains("added_tokens_decoder") ? json::object() : read_object_if_exists(map_file);
  check_supported(map_file, map);

  result.named = {{"bos_token", "<|startoftext|>"},
                  {"eos_token", "<|endoftext|>"},
                  {"unk_token", "<|endoftext|>"},
                  {"pad_token", "<|endoftext|>"}};
  for (const char* key : {"bos_token", "eos_token", "unk_token", "sep_token", "pad_token",
                          "cls_token", "mask_token"}) {
    const auto is_given = [&](const json& object) {
      return object.contains(key) && !object.at(key).is_null();
    };
    AddedToken token{};
    if (is_given(map))
      token = parse_token(map_file, map.at(key), true);
    else if (is_given(config))
      token = parse_token(config_file, config.at(key), false);
    else if (const auto found = result.named.find(key); found != result.named.end())
      token = {found->second, false};
    else
      continue;
    result.named[key] = token.text;
    if (!result.ids.contains(token.text))
      result.added[token.text] = token;
  }
  return result;
}

}  // namespace

TokenizerFiles read_tokenizer_files(const TreeFolder& folder) {
  TokenizerFiles result{};
  const File vocabulary_file{folder, "vocab.json"};
  result.vocabulary = read_vocabulary(vocabulary_file);
  result.merges = read_merges({folder, "merges.txt"});
  const Tokens tokens = read_tokens(folder);
  // A token that was added after training has its id from the configuration alone.
  std::map<std::string, int> added;
  std::set<int> taken;
  for (const auto& [token, id] : result.vocabulary)
    taken.insert(id);
  for (const auto& [token, id] : tokens.ids) {
    if (result.vocabulary.contains(token))
      continue;
    if (!taken.insert(id).second)
      fail({folder, "tokenizer_config.json"},
           "gives \"" + token + "\" the id " + std::to_string(id) + ", which another token has");
    added[token] = id;
  }
  const auto id = [&](const std::string& token) {
    if (const auto found = added.find(token); found != added.end())
      return found->second;
    const auto found = result.vocabulary.find(token);
    if (found == result.vocabulary.end())
      fail(vocabulary_file, "lacks the special token \"" + token + "\"");
    return found->second;
  };
  for (const auto& added_token : tokens.added) {  // clang 14's lambdas can't capture a binding
    const auto& text = added_token.first;
    const auto& token = added_token.second;
    std::vector<int> ids = {id(text)};
    const auto further = [&] { return text + "_" + std::to_string(ids.size()); };
    while (tokens.added.contains(further()))
      ids.push_back(id(further()));
    result.special_tokens.push_back({text, std::move(ids), token.is_normalized,
                                     token.takes_space_before, token.takes_space_after});
  }
  result.bos = id(tokens.named.at("bos_token"));
  result.eos = id(tokens.named.at("eos_token"));
  result.unknown = id(tokens.named.at("unk_token"));
  result.pad = id(tokens.named.at("pad_token"));
  return result;
}

}  // namespace fgdm
