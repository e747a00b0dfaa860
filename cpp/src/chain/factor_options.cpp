#include "factor_options.hpp"

#include <algorithm>
#include <set>
#include <span>

#include "device_inputs.hpp"
#include "editing_options.hpp"
#include "request.hpp"
#include "request_checks.hpp"

namespace fgdm {
namespace {

// A renewal takes a decode of every candidate's map and a ControlNet's look at it: every few steps
// that is little beside the steps themselves (docs/factors.md has the times).
constexpr int default_joint_refresh = 4;

// Sets an option of all condition factors that aren't left out to the default that they share.
// Where they differ it stays unset, and each takes its own.
template <typename T, typename Default>
void fill_shared(std::optional<T>& option, std::span<const FactorSpec* const> factors,
                 Default default_of) {
  std::set<T> defaults;
  for (const auto* factor : factors)
    defaults.insert(default_of(*factor));
  if (!option && defaults.size() == 1)
    option = *defaults.begin();
}

void fill_shared_options(Request& request, const Manifest& manifest) {
  std::vector<const FactorSpec*> all, measured;
  for (const auto& factor : manifest.factors) {
    const auto options = request.factors.find(factor.name);
    if (factor.is_image || (options != request.factors.end() && options->second.left_out))
      continue;
    all.push_back(&factor);
    if (factor.makes_labels())
      measured.push_back(&factor);
  }
  if (measured.empty())
    measured = all;
  using F = const FactorSpec&;
  fill_shared(request.condition_steps, all, [](F f) { return f.num_inference_steps; });
  fill_shared(request.condition_sampler, all, [](F f) { return f.sampler; });
  fill_shared(request.condition_guidance_scale, all,
              [](F f) { return static_cast<double>(f.guidance.guidance_scale); });
  if (request.select == SelectBy::callback)
    request.stop_at_recall = 0.0;  // it chooses among all
  fill_shared(request.stop_at_recall, measured, [](F f) { return f.stop_at_recall; });
  fill_shared(request.min_area, measured, [](F f) { return f.min_area; });
}

// Optional factors that the request doesn't name.
void leave_out_others(Request& request, const Manifest& manifest) {
  for (const auto& factor : manifest.factors)
    if (factor.optional && !request.factors.contains(factor.name) &&
        editing_of(request, factor) == nullptr &&
        std::ranges::count(request.joint, factor.name) == 0)
      request.factors[factor.name].left_out = true;
}

// One factor's options, and what each of them is called in the request.
class OptionsOf {
public:
  OptionsOf(Request& request, const Manifest& manifest, const FactorSpec& factor)
      : request_(request), manifest_(manifest), factor_(factor),
        options_(request.factors[factor.name]), size_(factor_size(request, manifest, factor)) {}

  void resolve() {
    if (options_.left_out) {
      refuse_others();
      return;
    }
    own_steps_ = options_.condition_steps.has_value();
    own_spacing_ = options_.timestep_spacing.has_value();
    own_savings_ = options_.prune.has_value() || options_.wave.has_value();
    fill();
    check_map();
    if (!sampler_kind(sampler_name(*options_.sampler)))
      throw RequestError(name("sampler") + " is " + shown(static_cast<int>(*options_.sampler)) +
                         ", which is no enumerator; give one by its name");
    if (!fgdm::timestep_spacing(spacing_name(*options_.timestep_spacing)))
      throw RequestError(name("timestep_spacing") + " is " +
                         shown(static_cast<int>(*options_.timestep_spacing)) +
                         ", which is no enumerator; give one by its name");
    // The samplers know with how many steps they have timesteps.
    if (!is_given(request_, factor_)) {
      check_spacing(own_spacing_ ? name("timestep_spacing")
                                 : "condition_timestep_spacing of " + factor_.name,
                    *options_.timestep_spacing, *options_.sampler);
      timesteps(manifest_.schedule, *options_.condition_steps, *options_.sampler,
                *options_.timestep_spacing,
                own_steps_ ? name("condition_steps") : "condition_steps");
    }
    check_strength();
    check_text(name("prompt"), *options_.prompt);
    check_text(name("negative_prompt"), *options_.negative_prompt);
    require_between(name("candidates"), *options_.candidates, 1, 1000);
    check_optional(name("guidance_scale"), options_.guidance_scale, 0.0, 100.0);
    check_interval(name("guidance_interval"), *options_.guidance_interval);
    check_optional(name("stop_at_recall"), options_.stop_at_recall, 0.0, 1.0);
    check_optional(name("min_area"), options_.min_area, 0.0, 1.0);
    if (is_given(request_, factor_))
      return;
    check_savings();
    check_latents(latents_name_, options_.latents, options_.latents_shape, *options_.candidates,
                  manifest_, size_);
    check_array(latents_name_, options_.latents_on_device, DType::float32,
                latents_shape(manifest_, size_, *options_.candidates), !options_.latents.empty());
  }

private:
  std::string name(const std::string& option) const {
    return "factors[\"" + factor_.name + "\"] " + option;
  }

  template <typename T>
  static void fill(std::optional<T>& option, const std::optional<T>& of_request,
                   const T& otherwise) {
    if (!option)
      option = of_request ? *of_request : otherwise;
  }

  void fill() {
    const auto& request = request_;
    const auto& guidance = factor_.guidance;
    refuse_sampling();
    refuse_measures();
    fill(options_.prompt, {}, request.prompt);
    fill(options_.negative_prompt, {}, request.negative_prompt);
    if (!options_.objects)
      options_.objects = request.objects;
    if (!options_.candidates)
      options_.candidates = factor_.makes_labels() ? request.candidates : 1;
    fill(options_.condition_steps, request.condition_steps, factor_.num_inference_steps);
    fill(options_.sampler, request.condition_sampler, factor_.sampler);
    fill(options_.timestep_spacing, request.condition_timestep_spacing,
         factor_.timestep_spacing.value_or(manifest_.schedule.spacing(*options_.sampler)));
    if (!is_given(request, factor_))
      resolve_cache(options_.cache_interval, options_.cache_level, name(""), manifest_, factor_);
    fill(options_.guidance_scale, request.condition_guidance_scale,
         static_cast<double>(guidance.guidance_scale));
    fill(options_.guidance_interval, {}, request.condition_guidance_interval);
    if (factor_.makes_labels()) {
      fill(options_.prune, {}, request.prune);
      if (options_.stop_at_recall && request.select != SelectBy::recall)
        throw RequestError(name("stop_at_recall") + " is " + shown(*options_.stop_at_recall) +
                           (request.select == SelectBy::compliance
                                ? ", but maps are chosen by compliance; give stop_at_compliance"
                                : ", but a callback chooses among all maps; leave it out"));
      fill(options_.stop_at_recall, request.stop_at_recall, factor_.stop_at_recall);
      fill(options_.min_area, request.min_area, factor_.min_area);
      // Of one map at a time the worse half can't be dropped.
      const bool waits = share_that_wins(request_, options_) > 0.0 && options_.prune->empty();
      fill(options_.wave, request.wave, waits ? factor_.wave : 0);
    }
    latents_name_ = has_latents() ? name("latents") : "condition_latents";
    const bool of_all = factor_.makes_labels() || !has_labels();
    if (!has_latents() && of_all && !is_given(request_, factor_)) {
      options_.latents = request.condition_latents;
      options_.latents_shape = request.condition_latents_shape;
      options_.latents_on_device = request.condition_latents_on_device;
    }
  }

  bool has_latents() const { return !options_.latents.empty() || options_.latents_on_device; }

  bool has_labels() const {
    return std::ranges::any_of(manifest_.factors, &FactorSpec::makes_labels);
  }

  // What says how a map is sampled, and whether it is set.
  std::vector<std::pair<const char*, bool>> sampling() const {
    return {{"candidates", options_.candidates.has_value()},
            {"condition_steps", options_.condition_steps.has_value()},
            {"sampler", options_.sampler.has_value()},
            {"timestep_spacing", options_.timestep_spacing.has_value()},
            {"cache_interval", options_.cache_interval.has_value()},
            {"cache_level", options_.cache_level.has_value()},
            {"guidance_scale", options_.guidance_scale.has_value()},
            {"guidance_interval", options_.guidance_interval.has_value()},
            {"prune", options_.prune.has_value()},
            {"stop_at_recall", options_.stop_at_recall.has_value()},
            {"wave", options_.wave.has_value()},
            {"latents", has_latents()}};
  }

  // Of a factor that is left out, nothing can be said.
  void refuse_others() const {
    auto all = sampling();
    all.insert(all.end(), {{"prompt", options_.prompt.has_value()},
                           {"negative_prompt", options_.negative_prompt.has_value()},
                           {"objects", options_.objects.has_value()},
                           {"min_area", options_.min_area.has_value()},
                           {"map", !options_.map.data.empty()},
                           {"strength", options_.strength.has_value()}});
    for (const auto& [option, is_set] : all)
      if (is_set)
        throw RequestError(name(option) + " is set, but " + factor_.name +
                           " is left out; drop one of the two");
  }

  void refuse_sampling() const {
    if (!is_given(request_, factor_))
      return;
    for (const auto& [option, is_set] : sampling())
      if (is_set)
        throw RequestError(name(option) + " is set, but the map is given and taken as it is; leave "
                                          "it out, or give a strength to sample the map again");
  }

  // What only recall can decide.
  void refuse_measures() const {
    if (factor_.makes_labels())
      return;
    for (const auto& [option, is_set] :
         {std::pair("objects", options_.objects.has_value()),
          std::pair("prune", options_.prune.has_value()),
          std::pair("stop_at_recall", options_.stop_at_recall.has_value()),
          std::pair("min_area", options_.min_area.has_value()),
          std::pair("wave", options_.wave.has_value())})
      if (is_set)
        throw RequestError(name(option) + " is set, but " + factor_.name +
                           " makes pictures, in which no objects are counted; leave it out");
  }

  void check_map() const {
    if (options_.map.data.empty())
      return;
    const auto area = pixels(size_);
    const bool is_labels = options_.map.data.size() == area;
    if (is_labels && !factor_.makes_labels())
      throw RequestError(name("map") + " holds labels, but " + factor_.name +
                         " makes pictures; give an RGB picture");
    check_picture(name("map"), options_.map, size_, is_labels ? 1 : 3, "the factor's");
  }

  void check_strength() const {
    if (!options_.strength)
      return;
    check_optional(name("strength"), options_.strength, 0.0, 1.0);
    if (options_.map.data.empty())
      throw RequestError(name("strength") + " is " + shown(*options_.strength) +
                         ", but there is no map to begin with; give both");
    if (factor_first_step(request_, factor_) == *options_.condition_steps)
      throw RequestError(name("strength") + " is " + shown(*options_.strength) + ", which of " +
                         shown(*options_.condition_steps) +
                         " steps leaves none; raise it, or leave it out to take the map as it is");
  }

  // What spends less on maps that cannot win.
  void check_savings() const {
    if (!factor_.makes_labels())
      return;
    const auto& prune = *options_.prune;
    const int first = factor_first_step(request_, factor_);
    const int last = *options_.condition_steps - first - 1;
    const auto called = [&](const char* option) {
      return own_savings_ ? name(option) : std::string(option);
    };
    if (last < 1 && !prune.empty())
      throw RequestError(called("prune") + " has " + shown(prune.front()) +
                         ", but maps of factor " + factor_.name +
                         " take one step, after which they are done; leave prune out, or raise "
                         "condition_steps");
    for (std::size_t i = 0; i < prune.size(); ++i) {
      if (prune[i] < 1 || prune[i] > last)
        throw RequestError(called("prune") + " has " + shown(prune[i]) +
                           ", expected steps from 1 to " + shown(last) + ", one less than " +
                           (first > 0 ? "the steps that the strength leaves" : "condition_steps"));
      if (i > 0 && prune[i] <= prune[i - 1])
        throw RequestError(called("prune") + " must ascend, but " + shown(prune[i]) + " follows " +
                           shown(prune[i - 1]));
    }
    require_between(called("wave"), *options_.wave, 0, 1000);
    if (*options_.wave > 0 && share_that_wins(request_, options_) == 0.0)
      throw RequestError(
          called("wave") + " is " + shown(*options_.wave) +
          (request_.select == SelectBy::callback
               ? ", but a callback chooses among all maps; leave it out"
               : std::string(" without ") +
                     (request_.stop_at_compliance ? "stop_at_compliance" : "stop_at_recall") +
                     ", which says when to stop; give both"));
  }

  const Request& request_;
  const Manifest& manifest_;
  const FactorSpec& factor_;
  FactorOptions& options_;
  FactorSize size_;
  std::string latents_name_;
  bool own_steps_ = false, own_spacing_ = false,
       own_savings_ = false;  // rather than the request's for all
};

void check_names(const Request& request, const Manifest& manifest) {
  std::vector<std::string> known;
  const auto check = [&](const std::string& option, const std::string& name, const char* kind) {
    if (std::ranges::count(known, name) == 0)
      throw RequestError(option + " has \"" + excerpt(name) + "\", which is no " + kind +
                         " of this bundle; it has " +
                         (known.empty() ? "none" : joined(known, ", ")));
  };
  for (const auto& factor : manifest.factors)
    if (!factor.is_image)
      known.push_back(factor.name);
  for (const auto& entry : request.factors)
    check("factors", entry.first, "condition factor");
  known.push_back(manifest.factors.back().name);
  for (const auto& name : request.joint)
    check("joint", name, "factor");
}

// What a factor's number of steps is called.
std::string steps_of(const FactorSpec& factor) {
  return factor.is_image ? "num_inference_steps" : "condition_steps of " + factor.name;
}

void check_joint(Request& request, const Manifest& manifest) {
  const std::set<std::string> names(request.joint.begin(), request.joint.end());
  if (names.size() != request.joint.size())
    throw RequestError("joint names a factor twice: " + joined(request.joint, ", "));
  if (names.size() == 1)
    throw RequestError("joint has only \"" + request.joint.front() +
                       "\", expected two or more factors that are sampled together");
  const FactorSpec* first = nullptr;
  bool sees_maps = false;
  for (const auto& factor : manifest.factors) {
    if (!names.contains(factor.name))
      continue;
    if (first == nullptr)
      first = &factor;
    sees_maps |= std::ranges::any_of(factor.conditionings, [&](const ConditioningSpec& network) {
      return network.sees_image() && names.contains(network.condition);
    });
    const int steps = factor_steps(request, factor), others = factor_steps(request, *first);
    if (steps != others)
      throw RequestError("joint factors take equally many steps, but " + steps_of(*first) + " is " +
                         shown(others) + " and " + steps_of(factor) + " is " + shown(steps) +
                         "; give the same number");
  }
  if (request.joint_refresh && !sees_maps)
    throw RequestError("joint_refresh is " + shown(*request.joint_refresh) +
                       ", but no network of a joint factor paints from the map of another; leave "
                       "it out");
  check_optional("joint_refresh", request.joint_refresh, 1, 1000);
  if (sees_maps)
    request.joint_refresh = request.joint_refresh.value_or(default_joint_refresh);
  // Groups are made of neighbours: what lies between could not see the one and be seen by the
  // other.
  std::size_t longest = 0;
  for (const auto& group : factor_groups(request, manifest))
    longest = std::max(longest, group.size());
  if (longest < names.size())
    throw RequestError("joint is " + joined(request.joint, ", ") +
                       ", but a factor that is sampled alone lies between them; name it too, or "
                       "give its map, or leave it out");
}

// Factors that are sampled together have as many candidates as one of them says; the image as many
// as they.
void share_candidates(Request& request, const Manifest& manifest) {
  std::optional<int> said;
  bool has_labels = false;
  for (const auto& factor : manifest.factors) {
    if (factor.is_image || std::ranges::count(request.joint, factor.name) == 0)
      continue;
    const auto& options = request.factors[factor.name];
    if (has_labels && (options.prune || options.wave || options.stop_at_recall))
      throw RequestError("factors[\"" + factor.name +
                         "\"] says which candidates go on, but of joint factors the first that "
                         "makes labels decides it; leave prune, wave and stop_at_recall out");
    has_labels = has_labels || factor.makes_labels();
    if (options.left_out || !options.map.data.empty())  // refined too: it begins at another step
      throw RequestError("joint has \"" + factor.name + "\", which is " +
                         (options.left_out ? "left out" : "given a map") +
                         "; only factors that are sampled from noise can go together");
    const auto given = options.candidates;
    check_optional("factors[\"" + factor.name + "\"] candidates", given, 1, 1000);
    if (given && said && *given != *said)
      throw RequestError("joint factors have equally many candidates, but factors say " +
                         shown(*said) + " and " + shown(*given) + "; say it once");
    if (given)
      said = given;
  }
  for (const auto& name : request.joint)
    if (name != manifest.factors.back().name)
      request.factors[name].candidates = said.value_or(has_labels ? request.candidates : 1);
}

// What the request says of all factors: theirs, where they agree.
void report_wave(Request& request, const Manifest& manifest) {
  std::set<int> waves;
  for (const auto& factor : manifest.factors)
    if (factor.makes_labels() && request.factors.at(factor.name).wave)
      waves.insert(*request.factors.at(factor.name).wave);
  if (!request.wave && waves.size() < 2)
    request.wave = waves.empty() ? 0 : *waves.begin();
}

}  // namespace

void resolve_factors(Request& request, const Manifest& manifest) {
  check_names(request, manifest);
  leave_out_others(request, manifest);
  fill_shared_options(request, manifest);
  share_candidates(request, manifest);
  for (const auto& factor : manifest.factors)
    if (!factor.is_image)
      OptionsOf(request, manifest, factor).resolve();
  report_wave(request, manifest);
  check_joint(request, manifest);
}

double share_that_wins(const Request& request, const FactorOptions& factor) {
  return request.stop_at_compliance.value_or(*factor.stop_at_recall);
}

bool is_given(const Request& resolved, const FactorSpec& factor) {
  if (factor.is_image)
    return false;
  const auto& options = resolved.factors.at(factor.name);
  return !options.left_out && !options.map.data.empty() && !options.strength &&
         editing_of(resolved, factor) == nullptr;
}

bool is_left_out(const Request& resolved, const FactorSpec& factor) {
  return !factor.is_image && resolved.factors.at(factor.name).left_out;
}

std::vector<std::vector<std::uint32_t>> factor_groups(const Request& resolved,
                                                      const Manifest& manifest) {
  std::vector<std::vector<std::uint32_t>> groups;
  bool goes_on = false;  // whether the last group takes the next joint factor
  for (std::uint32_t index = 0; index < manifest.factors.size(); ++index) {
    const auto& factor = manifest.factors[index];
    if (is_given(resolved, factor) || is_left_out(resolved, factor))
      continue;
    const bool is_joint = std::ranges::count(resolved.joint, factor.name) > 0;
    if (!is_joint || !goes_on)
      groups.emplace_back();
    groups.back().push_back(index);
    goes_on = is_joint;
    if (is_inverted(resolved, factor))
      break;
  }
  return groups;
}

std::int64_t first_rows(const Request& resolved, const Manifest& manifest) {
  const auto& factor = manifest.factors[factor_groups(resolved, manifest).front().front()];
  std::int64_t count = images(resolved, manifest);
  if (!factor.is_image) {
    const auto& options = resolved.factors.at(factor.name);
    const int wave = options.wave.value_or(0);
    count = wave > 0 ? std::min(wave, *options.candidates) : *options.candidates;
  }
  const int steps = factor_steps(resolved, factor), first = factor_first_step(resolved, factor);
  if (const auto* editing = editing_of(resolved, factor))
    return phase_at(first, steps, factor_guidance(resolved, factor)).rows() +
           std::ranges::count(editing->edits, 0, &Edit::warm_up);
  return first < steps ? count * phase_at(first, steps, factor_guidance(resolved, factor)).rows()
                       : 0;
}

}  // namespace fgdm
