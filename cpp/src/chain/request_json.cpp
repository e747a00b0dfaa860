#include "request_json.hpp"

#include <array>

#include "fgdm/json.hpp"
#include "files.hpp"
#include "json_options.hpp"

namespace fgdm {
namespace {

using nlohmann::json;
using nlohmann::ordered_json;

// Shows `visit` every option of a factor by its name: one list for reading and for writing.
template <typename Options, typename Visit>
void each_factor_option(Options& factor, const Visit& visit) {
  visit("prompt", factor.prompt);
  visit("negative_prompt", factor.negative_prompt);
  visit("objects", factor.objects);
  visit("candidates", factor.candidates);
  visit("condition_steps", factor.condition_steps);
  visit("sampler", factor.sampler);
  visit("timestep_spacing", factor.timestep_spacing);
  visit("cache_interval", factor.cache_interval);
  visit("cache_level", factor.cache_level);
  visit("guidance_scale", factor.guidance_scale);
  visit("guidance_interval", factor.guidance_interval);
  visit("prune", factor.prune);
  visit("stop_at_recall", factor.stop_at_recall);
  visit("min_area", factor.min_area);
  visit("wave", factor.wave);
  visit("map", factor.map);
  visit("strength", factor.strength);
  visit("latents", factor.latents);
}

// Likewise of what an inversion was made with.
template <typename Settings, typename Visit>
void each_setting(Settings& settings, const Visit& visit) {
  visit("factor", settings.factor);
  visit("prompt", settings.prompt);
  visit("negative_prompt", settings.negative_prompt);
  visit("guidance_scale", settings.guidance_scale);
  visit("sampler", settings.sampler);
  visit("eta", settings.eta);
  visit("timestep_spacing", settings.timestep_spacing);
  visit("num_inference_steps", settings.num_inference_steps);
  visit("skip", settings.skip);
}

// Likewise of an edit.
template <typename Options, typename Visit>
void each_edit_option(Options& edit, const Visit& visit) {
  visit("prompt", edit.prompt);
  visit("away", edit.away);
  visit("scale", edit.scale);
  visit("warm_up", edit.warm_up);
  visit("cool_down", edit.cool_down);
  visit("threshold", edit.threshold);
  visit("attention", edit.attention);
  visit("region", edit.region);
  visit("mask", edit.mask);
}

// Text that is JSON itself.
template <typename Text> struct JsonText {
  Text& text;
};
template <typename Text> JsonText<Text> json_text(Text& text) {
  return {text};
}

// Likewise of a request.
template <typename Options, typename Visit> void each_option(Options& request, const Visit& visit) {
  visit("prompt", request.prompt);
  visit("negative_prompt", request.negative_prompt);
  visit("objects", request.objects);
  visit("candidates", request.candidates);
  visit("seed", request.seed);
  visit("condition_steps", request.condition_steps);
  visit("num_inference_steps", request.num_inference_steps);
  visit("guidance", request.guidance);
  visit("guidance_scale", request.guidance_scale);
  visit("condition_guidance_scale", request.condition_guidance_scale);
  visit("segfree_scale", request.segfree_scale);
  visit("segfree_guidance_scale", request.segfree_guidance_scale);
  visit("segfree_start", request.segfree_start);
  visit("controlnet_conditioning_scale", request.controlnet_conditioning_scale);
  visit("loras", request.loras);
  visit("sampler", request.sampler);
  visit("condition_sampler", request.condition_sampler);
  visit("timestep_spacing", request.timestep_spacing);
  visit("condition_timestep_spacing", request.condition_timestep_spacing);
  visit("cache_interval", request.cache_interval);
  visit("cache_level", request.cache_level);
  visit("min_area", request.min_area);
  visit("height", request.height);
  visit("width", request.width);
  visit("latents", request.latents);
  visit("condition_latents", request.condition_latents);
  visit("control_images", request.control_images);
  visit("factors", request.factors);
  visit("joint", request.joint);
  visit("joint_refresh", request.joint_refresh);
  visit("image", request.image);
  visit("strength", request.strength);
  visit("mask", request.mask);
  visit("prune", request.prune);
  visit("stop_at_recall", request.stop_at_recall);
  visit("wave", request.wave);
  visit("select", request.select);
  visit("stop_at_compliance", request.stop_at_compliance);
  visit("requirements", json_text(request.requirements));
  visit("articles_count", request.articles_count);
  visit("instance_opening", request.instance_opening);
  visit("forbid", json_text(request.forbid));
  visit("guidance_interval", request.guidance_interval);
  visit("condition_guidance_interval", request.condition_guidance_interval);
  visit("editing", request.editing);
  visit("priority", request.priority);
  visit("deadline", request.deadline);
}

// Reads options by name.
struct Reader {
  JsonOptions& options;

  template <typename T> void operator()(const char* name, T& target) const {
    options.read(name, target);
  }
  void operator()(const char* name, std::vector<double>& target) const {
    const auto* given = options.find(name);
    if (given == nullptr)
      return;
    if (given->is_number())  // one for all
      target = {given->get<double>()};
    else
      read_option(name, *given, target);
  }
  void operator()(const char* name, std::map<std::string, double>& target) const {
    const auto* given = options.find(name);
    if (given == nullptr)
      return;
    if (!given->is_object())
      refuse_option(name, *given, R"(an object such as {"style": 0.8})");
    target.clear();
    for (const auto& [key, value] : given->items())
      read_option(std::string(name) + "." + key, value, target[key]);
  }
  void operator()(const char* name, Pixels&) const { refuse_array(name); }
  void operator()(const char* name, std::vector<float>&) const { refuse_array(name); }
  void operator()(const char* name, std::map<std::string, Pixels>&) const { refuse_array(name); }
  void operator()(const char* name, std::optional<Editing>&) const { refuse_array(name); }
  template <typename Text> void operator()(const char* name, JsonText<Text> target) const {
    if (const auto* given = options.find(name))
      target.text = given->dump();
  }
  void operator()(const char* name, std::map<std::string, FactorOptions>& target) const {
    const auto* given = options.find(name);
    if (given == nullptr)
      return;
    if (!given->is_object())
      refuse_option(name, *given, R"(an object such as {"depth": null})");
    for (const auto& [factor, value] : given->items()) {
      auto& made = target[factor];
      made.left_out = value.is_null();
      if (made.left_out)
        continue;
      JsonOptions own(std::string(name) + "." + factor + ".", value);
      each_factor_option(made, Reader{own});
      own.check_all_read();
    }
  }

private:
  void refuse_array(const char* name) const {
    const auto* given = options.find(name);
    if (given != nullptr && !given->empty())  // no control images are an empty list
      throw RequestError(
          std::string(name) +
          " is in the JSON; pictures, maps, latents and inversions are given as arrays");
  }
};

json written(bool value) {
  return value;
}
json written(int value) {
  return value;
}
json written(std::uint64_t value) {
  return value;
}
json written(double value) {
  return value;
}
json written(const std::string& value) {
  return value;
}
json written(const Interval& value) {
  return {value.start, value.stop};
}
json written(SamplerKind value) {
  return sampler_name(value);
}
json written(TimestepSpacing value) {
  return spacing_name(value);
}
json written(GuidanceKind value) {
  return value == GuidanceKind::cfg ? "cfg" : "segfree";
}
json written(SelectBy value) {
  return value == SelectBy::recall       ? "recall"
         : value == SelectBy::compliance ? "compliance"
                                         : "callable";
}
template <typename T> json written(const std::vector<T>& values) {
  auto list = json::array();
  for (const auto& value : values)
    list.push_back(written(value));
  return list;
}
json written(const std::vector<float>& values) {
  return values.empty() ? json() : json("given");
}
json written(const Pixels& pixels) {
  return pixels.data.empty() ? json() : json("given");
}
json written(const std::map<std::string, Pixels>& pictures) {
  auto names = json::array();
  for (const auto& [name, picture] : pictures)
    names.push_back(name);
  return names;
}
json written(const std::map<std::string, double>& values) {
  auto object = json::object();
  for (const auto& [name, value] : values)
    object[name] = value;
  return object;
}
template <typename T> json written(const std::optional<T>& value) {
  return value ? written(*value) : json();
}

// Writes options by name.
struct Writer {
  ordered_json& object;

  template <typename T> void operator()(const char* name, const T& value) const {
    object[name] = written(value);
  }
  void operator()(const char* name, JsonText<const std::string> value) const {
    object[name] = value.text.empty() ? ordered_json() : ordered_json::parse(value.text);
  }
  void operator()(const char* name, JsonText<const std::optional<std::string>> value) const {
    object[name] = value.text ? ordered_json::parse(*value.text) : ordered_json();
  }
  void operator()(const char* name, const std::optional<Editing>& editing) const {
    auto& own = object[name] = nullptr;
    if (!editing)
      return;
    each_setting(editing->settings, Writer{own});
    auto& edits = own["edits"] = ordered_json::array();
    for (const auto& edit : editing->edits)
      each_edit_option(edit, Writer{edits.emplace_back()});
    own["keep"] = editing->keep;
  }
  void operator()(const char* name, const std::map<std::string, FactorOptions>& factors) const {
    auto& all = object[name] = ordered_json::object();
    for (const auto& [factor, options] : factors) {
      auto& own = all[factor];
      if (!options.left_out)
        each_factor_option(options, Writer{own});
    }
  }
};

}  // namespace

Request request_from(const json& options) {
  JsonOptions given("", options);
  Request request;
  each_option(request, Reader{given});
  given.check_all_read();
  return request;
}

Request parse_request(std::string_view text) {
  json parsed;
  try {
    parsed = parse_json(text);
  } catch (const BundleError& error) {
    throw RequestError(std::string("the request can't be read: ") + error.what());
  }
  return request_from(parsed);
}

ordered_json parameters_of(const Request& request) {
  ordered_json all;
  each_option(request, Writer{all});
  const auto tell = [](ordered_json& option, const DeviceArray& array) {
    if (array)
      option = "given";
  };
  tell(all["image"], request.image_on_device);
  tell(all["latents"], request.latents_on_device);
  tell(all["condition_latents"], request.condition_latents_on_device);
  for (const auto& [name, picture] : request.control_images_on_device)
    all["control_images"].push_back(name);
  for (const auto& [name, options] : request.factors)
    if (!options.left_out)
      tell(all["factors"][name]["latents"], options.latents_on_device);
  return all;
}

ordered_json parameters_of(const InversionSettings& settings) {
  ordered_json all;
  each_setting(settings, Writer{all});
  return all;
}

}  // namespace fgdm
