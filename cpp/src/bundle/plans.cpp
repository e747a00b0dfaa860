#include "plans.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>

#include "covers.hpp"
#include "fgdm/bundle.hpp"
#include "fgdm/error.hpp"
#include "json_field.hpp"
#include "wording.hpp"

namespace fgdm {
namespace {

using Json = nlohmann::json;

constexpr int newest_schema = 1;

Json metadata_of(const std::string& json) {
  try {
    return parse_json(json);
  } catch (const BundleError& error) {
    throw BundleError(std::string(error.what()) + "; build the plan again");
  }
}

// Throws BundleError for metadata that `fgdm build` didn't write so.
[[noreturn]] void refuse_plan(const std::string& what) {
  throw BundleError(excerpt(what, 500) + "; build the plan again");
}

using PlanField = JsonField<refuse_plan>;

PlanTensor parse_tensor(const PlanField& field, std::size_t num_profiles) {
  PlanTensor tensor{field["name"].text(), {}};
  for (const auto& shape : field["shapes"].items()) {
    auto& extents = tensor.shapes.emplace_back();
    for (const auto& extent : shape.items())
      extents.push_back(extent.integer(1, 1 << 24));
  }
  if (tensor.shapes.size() != num_profiles)
    throw BundleError(tensor.name + " has " + std::to_string(tensor.shapes.size()) +
                      " shapes, expected one for each of " + std::to_string(num_profiles) +
                      " profiles");
  for (const auto& shape : tensor.shapes)
    if (shape.empty())
      throw BundleError(tensor.name + " has no dimensions, expected rows to be its first");
  return tensor;
}

void check_files(const PlanField& built_from, const std::map<std::string, FileSpec>& files) {
  for (const auto& [path, sha256] : built_from.entries()) {
    const auto here = files.find(path);
    if (here == files.end() || here->second.sha256 != sha256.text())
      throw BundleError("stale: " + path + " changed since it was built");
  }
}

// Agreement as far as both versions go: 10.3.0 and 10.3.0.30 agree.
bool same_version(const std::string& one, const std::string& other) {
  std::istringstream first(one), second(other);
  std::string a, b;
  while (std::getline(first, a, '.') && std::getline(second, b, '.'))
    if (a != b)
      return false;
  return true;
}

bool same_row(const std::vector<std::int64_t>& one, const std::vector<std::int64_t>& other) {
  return one.size() == other.size() && std::equal(one.begin() + 1, one.end(), other.begin() + 1);
}

enum class Missing { refuse, allow };

bool fits(const std::vector<PlanTensor>& wanted, std::size_t profile,
          std::span<const NamedTensor> given, Missing missing) {
  return std::ranges::all_of(wanted, [&](const PlanTensor& tensor) {
    const auto found = std::ranges::find(given, std::string_view(tensor.name), &NamedTensor::name);
    return found == given.end() ? missing == Missing::allow
                                : same_row(tensor.shapes[profile], found->tensor.shape);
  });
}

std::string size_words(int height, int width) {
  return std::to_string(height) + "x" + std::to_string(width);
}

}  // namespace

Plan Plan::parse(const std::string& json, const std::filesystem::path& path,
                 const std::map<std::string, FileSpec>& files) {
  const auto where = path.filename().string() + ": ";
  try {
    const auto document = metadata_of(json);
    const PlanField root(document, "");
    if (root["schema"].integer(1, 1'000'000) > newest_schema)
      throw BundleError("written by a newer fgdm; upgrade fgdm");
    const auto covers = root["covers"];
    if (covers_key(document.at("covers")) != path.stem().string())
      throw BundleError("what it covers has been altered; build the plan again");
    check_files(covers["files"], files);
    if (!covers.has("tf32") || covers["tf32"].flag())  // plans before recipe 2 don't say so
      throw BundleError(
          "stale: built with TF32 allowed, so its float32 isn't float32; build again");
    Plan plan;
    plan.file = std::filesystem::path(path).replace_extension(".plan");
    plan.graph = covers["graph"].text();
    plan.runtime = covers["runtime"].text();
    for (const auto& gpu : covers["gpus"].items())
      plan.gpus.push_back(gpu.text());
    plan.precision = covers["precision"].choice({"fp32", "fp16"});
    plan.uses_plugin =
        covers["segfree_attention"].choice({"none", "function", "plugin"}) == "plugin";
    for (const auto& profile : covers["profiles"].items())
      plan.profiles.push_back({profile["height"].small(0, 16384), profile["width"].small(0, 16384),
                               profile["rows"].small(1, 1 << 24)});
    for (const auto& item : covers["inputs"].items())
      plan.inputs.push_back(parse_tensor(item, plan.profiles.size()));
    for (const auto& item : covers["outputs"].items())
      plan.outputs.push_back(parse_tensor(item, plan.profiles.size()));
    plan.size = static_cast<std::uint64_t>(root["plan"]["size"].integer(0, std::int64_t{1} << 50));
    plan.sha256 = root["plan"]["sha256"].digest();
    return plan;
  } catch (const BundleError& error) {
    throw BundleError(where + error.what());
  }
}

void check_plan(const std::string& json, const std::string& name,
                const std::map<std::string, FileSpec>& files) {
  Plan::parse(json, name, files);
}

std::vector<Plan> find_plans(const FileTree& files, const Manifest& manifest,
                             const std::string& target, std::vector<std::string>& problems) {
  std::vector<Plan> found;
  for (const auto& name : files.list("plans/" + target)) {
    const std::filesystem::path path(name);
    // Beside it lie <key>.layers.json and timing caches.
    if (path.extension() != ".json" || !path.stem().extension().empty())
      continue;
    try {
      auto plan = Plan::parse(read_text(files, name), path, manifest.files);
      const auto compiled = plan.file.string();
      if (!files.has(compiled) || files.size(compiled) != plan.size)
        throw BundleError(plan.file.filename().string() +
                          " is missing or incomplete; build the plan again");
      found.push_back(std::move(plan));
    } catch (const BundleError& error) {
      problems.emplace_back(error.what());
    }
  }
  return found;
}

std::string obstacle(const Plan& plan, const PlanHost& host) {
  if (std::ranges::find(plan.gpus, host.architecture) == plan.gpus.end())
    return "built for " + joined(plan.gpus, ", ") + "; this GPU is " + host.architecture;
  if (!same_version(plan.runtime, host.runtime))
    return "built with TensorRT " + plan.runtime + ", " + host.runtime + " is installed";
  return "";
}

std::vector<std::string> uncovered(const Manifest& manifest, std::span<const Plan> plans) {
  std::vector<std::string> missing;
  const auto need = [&](const std::string& graph, int height, int width) {
    const bool covered = std::ranges::any_of(plans, [&](const Plan& plan) {
      return plan.graph == graph && std::ranges::any_of(plan.profiles, [&](const auto& profile) {
               return profile.height == 0 || (profile.height == height && profile.width == width);
             });
    });
    const auto words = graph + (height == 0 ? "" : " at " + size_words(height, width));
    if (!graph.empty() && !covered && std::ranges::find(missing, words) == missing.end())
      missing.push_back(words);
  };
  need(manifest.text_encoder, 0, 0);
  for (const auto& factor : manifest.factors) {
    need(manifest.backbone_of(factor), factor.height, factor.width);
    if (factor.cache.interval > 1)
      need(manifest.shallow_of(factor.cache).graph, factor.height, factor.width);
    need(manifest.vae_decoder, factor.height, factor.width);
    need(manifest.preview_decoder, factor.height, factor.width);
    for (const auto& network : factor.conditionings) {
      need(network.graph, factor.height, factor.width);
      need(network.hint_graph, factor.height, factor.width);
    }
  }
  return missing;
}

std::optional<PlanChoice> choose_profile(std::span<const Plan> plans, const std::string& graph,
                                         std::span<const NamedTensor> inputs,
                                         std::span<const NamedTensor> outputs, std::size_t rows) {
  std::optional<PlanChoice> best;
  const auto rows_of = [](const PlanChoice& choice) {
    return static_cast<std::size_t>(choice.plan->profiles[choice.profile].rows);
  };
  const auto better = [&](const PlanChoice& choice) {
    if (!best)
      return true;
    const auto mine = rows_of(choice), others = rows_of(*best);
    if (mine == others)
      return choice.plan->uses_plugin && !best->plan->uses_plugin;
    if ((mine >= rows) != (others >= rows))
      return mine >= rows;
    return mine >= rows ? mine < others : mine > others;
  };
  for (const Plan& plan : plans) {
    if (plan.graph != graph)
      continue;
    for (std::size_t profile = 0; profile < plan.profiles.size(); ++profile) {
      const PlanChoice choice{&plan, profile};
      if (fits(plan.inputs, profile, inputs, Missing::refuse) &&
          fits(plan.outputs, profile, outputs, Missing::allow) && better(choice))
        best = choice;
    }
  }
  return best;
}

}  // namespace fgdm
