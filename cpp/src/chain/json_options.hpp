#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "fgdm/error.hpp"
#include "fgdm/guidance.hpp"
#include "fgdm/request.hpp"
#include "fgdm/schedule.hpp"
#include "wording.hpp"

namespace fgdm {

// Throws RequestError that says what the option is, and what was expected.
[[noreturn]] void refuse_option(const std::string& name, const nlohmann::json& given,
                                const std::string& expected);

// Reads one option's value; throws RequestError for one of another type, or that the type can't
// hold.
void read_option(const std::string& name, const nlohmann::json& given, bool& target);
void read_option(const std::string& name, const nlohmann::json& given, int& target);
void read_option(const std::string& name, const nlohmann::json& given, std::uint64_t& target);
void read_option(const std::string& name, const nlohmann::json& given, double& target);
void read_option(const std::string& name, const nlohmann::json& given, std::string& target);
void read_option(const std::string& name, const nlohmann::json& given, Interval& target);
void read_option(const std::string& name, const nlohmann::json& given, SamplerKind& target);
void read_option(const std::string& name, const nlohmann::json& given, TimestepSpacing& target);
void read_option(const std::string& name, const nlohmann::json& given, GuidanceKind& target);
void read_option(const std::string& name, const nlohmann::json& given, SelectBy& target);

template <typename T>
void read_option(const std::string& name, const nlohmann::json& given, std::vector<T>& target) {
  if (!given.is_array())
    refuse_option(name, given, "a list");
  target.clear();
  for (std::size_t i = 0; i < given.size(); ++i)
    read_option(name + "[" + std::to_string(i) + "]", given[i], target.emplace_back());
}

template <typename T>
void read_option(const std::string& name, const nlohmann::json& given, std::optional<T>& target) {
  read_option(name, given, target.emplace());
}

// The options in one JSON object. Each is read once by its name, and nothing may be left.
class JsonOptions {
public:
  // `place`: before the names in messages. Throws RequestError for what is no object.
  JsonOptions(std::string place, const nlohmann::json& object) : place_(std::move(place)) {
    if (!object.is_object())
      refuse_option(place_.empty() ? "the JSON" : place_, object, "an object");
    object_ = &object;
  }

  // The value, null if it is not there.
  const nlohmann::json* find(const char* name) {
    known_.emplace_back(name);
    const auto found = object_->find(name);
    return found == object_->end() || found->is_null() ? nullptr : &*found;
  }

  template <typename T> void read(const char* name, T& target) {
    if (const auto* given = find(name))
      read_option(place_ + name, *given, target);
  }

  // Throws RequestError for an option that wasn't asked for.
  void check_all_read() const;

private:
  std::string place_;
  const nlohmann::json* object_;
  std::vector<std::string> known_;
};

}  // namespace fgdm
