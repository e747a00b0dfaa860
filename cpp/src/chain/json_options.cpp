#include "json_options.hpp"

#include <algorithm>
#include <limits>

namespace fgdm {

using nlohmann::json;

void refuse_option(const std::string& name, const json& given, const std::string& expected) {
  throw RequestError(excerpt(name, 200) + " is " +
                     excerpt(given.dump(-1, ' ', true, json::error_handler_t::replace)) +
                     ", expected " + expected);
}

void read_option(const std::string& name, const json& given, bool& target) {
  if (!given.is_boolean())
    refuse_option(name, given, "true or false");
  target = given.get<bool>();
}

void read_option(const std::string& name, const json& given, int& target) {
  using Limits = std::numeric_limits<int>;
  if (!given.is_number_integer())
    refuse_option(name, given, "a whole number");
  const bool large =
      given.is_number_unsigned() && given.get<std::uint64_t>() > std::uint64_t{Limits::max()};
  if (large || given.get<std::int64_t>() < Limits::min())
    refuse_option(name, given,
                  "a whole number from " + shown(Limits::min()) + " to " + shown(Limits::max()));
  target = given.get<int>();
}

void read_option(const std::string& name, const json& given, std::uint64_t& target) {
  if (!given.is_number_unsigned())
    refuse_option(name, given,
                  "a whole number from 0 to " + shown(std::numeric_limits<std::uint64_t>::max()));
  target = given.get<std::uint64_t>();
}

void read_option(const std::string& name, const json& given, double& target) {
  if (!given.is_number())
    refuse_option(name, given, "a number");
  target = given.get<double>();
}

void read_option(const std::string& name, const json& given, std::string& target) {
  if (!given.is_string())
    refuse_option(name, given, "text");
  target = given.get<std::string>();
}

void read_option(const std::string& name, const json& given, Interval& target) {
  std::vector<double> bounds;
  if (given.is_array())
    read_option(name, given, bounds);
  if (bounds.size() != 2)
    refuse_option(name, given, "two fractions of the steps such as [0.0, 0.8]");
  target = {bounds[0], bounds[1]};
}

void read_option(const std::string& name, const json& given, SamplerKind& target) {
  const auto kind = given.is_string() ? sampler_kind(given.get<std::string>()) : std::nullopt;
  if (!kind)
    refuse_option(name, given, sampler_names());
  target = *kind;
}

void read_option(const std::string& name, const json& given, TimestepSpacing& target) {
  const auto kind = given.is_string() ? timestep_spacing(given.get<std::string>()) : std::nullopt;
  if (!kind)
    refuse_option(name, given, spacing_names());
  target = *kind;
}

void read_option(const std::string& name, const json& given, GuidanceKind& target) {
  if (given != "cfg" && given != "segfree")
    refuse_option(name, given, R"("segfree" or "cfg")");
  target = given == "cfg" ? GuidanceKind::cfg : GuidanceKind::segfree;
}

void read_option(const std::string& name, const json& given, SelectBy& target) {
  if (given == "recall")
    target = SelectBy::recall;
  else if (given == "compliance")
    target = SelectBy::compliance;
  else if (given == "callable")
    target = SelectBy::callback;
  else
    refuse_option(name, given, R"("recall", "compliance" or a function)");
}

void JsonOptions::check_all_read() const {
  for (const auto& [name, value] : object_->items())
    if (std::ranges::find(known_, name) == known_.end())
      throw RequestError("there is no option " + excerpt(place_ + name, 200) + "; there are " +
                         joined(known_, ", "));
}

}  // namespace fgdm
