#pragma once

#include <algorithm>
#include <cstdint>
#include <initializer_list>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "wording.hpp"

namespace fgdm {

// A JSON value that comes from outside, and the path that leads to it, for messages. What isn't of
// the expected kind, or out of its range, is told to `refuse`, which throws.
template <void (*refuse)(const std::string& what)> class JsonField {
public:
  JsonField(const nlohmann::json& value, std::string path)
      : value_(value), path_(std::move(path)) {}

  JsonField operator[](const std::string& key) const {
    if (!value_.is_object())
      refuse(where() + " should be an object");
    const auto found = value_.find(key);
    if (found == value_.end())
      refuse(where() + " lacks \"" + key + "\"");
    return {*found, path_.empty() ? key : path_ + "." + key};
  }

  bool has(const std::string& key) const {
    return value_.is_object() && value_.contains(key) && !value_.at(key).is_null();
  }

  std::string text() const {
    if (!value_.is_string())
      refuse(where() + " should be text, not " + shown());
    if (!is_plain(value_.get_ref<const std::string&>()))
      refuse(where() + " has a control character or a change of direction: " + shown());
    return value_.get<std::string>();
  }

  std::string text_or(const std::string& key, const std::string& otherwise) const {
    return has(key) ? (*this)[key].text() : otherwise;
  }

  // One of these names.
  std::string choice(std::initializer_list<std::string_view> names) const {
    const auto name = text();
    if (std::ranges::find(names, name) == names.end()) {
      std::string expected;
      for (const auto known : names)
        expected += (expected.empty() ? "\"" : " or \"") + std::string(known) + '"';
      refuse(where() + " is " + shown() + ", expected " + expected);
    }
    return name;
  }

  // A SHA-256.
  std::string digest() const {
    const auto hex = text();
    if (hex.size() != 64 || hex.find_first_not_of("0123456789abcdef") != std::string::npos)
      refuse(where() + " is " + shown() + ", expected 64 lower-case hexadecimal digits");
    return hex;
  }

  std::int64_t integer(std::int64_t least, std::int64_t most) const {
    if (!value_.is_number_integer())
      refuse(where() + " should be a whole number, not " + shown());
    const bool too_large = value_.is_number_unsigned() &&
                           value_.get<std::uint64_t>() > static_cast<std::uint64_t>(most);
    const auto number = too_large ? most : value_.get<std::int64_t>();
    if (too_large || number < least || number > most)
      refuse(where() + " is " + shown() + ", expected " + fgdm::shown(least) + " to " +
             fgdm::shown(most));
    return number;
  }

  int small(int least, int most) const { return static_cast<int>(integer(least, most)); }

  double number(double least, double most) const {
    if (!value_.is_number())
      refuse(where() + " should be a number, not " + shown());
    const auto number = value_.get<double>();
    if (!(number >= least && number <= most))
      refuse(where() + " is " + shown() + ", expected " + fgdm::shown(least) + " to " +
             fgdm::shown(most));
    return number;
  }

  std::vector<JsonField> items() const {
    if (!value_.is_array())
      refuse(where() + " should be a list");
    std::vector<JsonField> all;
    for (std::size_t i = 0; i < value_.size(); ++i)
      all.emplace_back(value_[i], path_ + "[" + std::to_string(i) + "]");
    return all;
  }

  std::vector<std::pair<std::string, JsonField>> entries() const {
    if (!value_.is_object())
      refuse(where() + " should be an object");
    std::vector<std::pair<std::string, JsonField>> all;
    for (const auto& [key, value] : value_.items()) {
      if (key.empty() || !is_plain(key))
        refuse(where() + " has the key " + nlohmann::json(key).dump(-1, ' ', true) +
               ", which is empty or has a control character");
      all.emplace_back(key, JsonField(value, path_ + "." + key));
    }
    return all;
  }

  bool flag() const {
    if (!value_.is_boolean())
      refuse(where() + " should be true or false, not " + shown());
    return value_.get<bool>();
  }

  bool is_integer() const { return value_.is_number_integer(); }
  bool is_object() const { return value_.is_object(); }
  std::string where() const { return path_.empty() ? "the file" : path_; }
  std::string shown() const {
    auto text = value_.dump(-1, ' ', true, nlohmann::json::error_handler_t::replace);
    return text.size() > 60 ? text.substr(0, 57) + "..." : text;
  }

private:
  const nlohmann::json& value_;
  std::string path_;
};

}  // namespace fgdm
