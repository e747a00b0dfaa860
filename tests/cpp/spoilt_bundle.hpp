#pragma once

#include <algorithm>
#include <array>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "bundle_folder.hpp"
#include "fake_sessions.hpp"
#include "request.hpp"
#include "scheduler.hpp"

// A bundle whose manifest is spoilt, opened and asked for a picture.
namespace fgdm::testing {

// The shipped bundle without its weights, so that it opens in a millisecond: every graph's file is
// one byte, since fakes stand in for the graphs.
class SpoiltBundle {
public:
  explicit SpoiltBundle(std::filesystem::path folder) : folder_(std::move(folder)) {
    for (const auto& [name, graph] : manifest().at("graphs").items())
      folder_.add(graph.at("file").get<std::string>(), "x");
  }

  // The manifest before anything was done to it.
  const nlohmann::json& manifest() const { return folder_.manifest(); }

  // Makes these bytes the manifest, with the hash that fits; opens the bundle and paints a picture
  // with fake graphs. False where sizes are beyond a test's memory, and nothing was painted. Throws
  // fgdm::Error for a bundle or request that is refused, and nothing else, whatever the bytes are.
  bool generate(std::string_view manifest) const {
    folder_.save(manifest);
    const auto bundle = Bundle::open(folder_.path());
    if (!is_modest(bundle.manifest()))
      return false;
    auto graphs = fake_graphs(bundle.manifest());
    Scheduler scheduler(bundle, graphs, {}, {});
    Request request;
    request.prompt = "two dogs beside a house";
    request.candidates = 2;
    request.condition_steps = 1;
    request.num_inference_steps = 2;
    auto job = std::make_shared<JobState>();
    job->request = resolve(std::move(request), bundle.manifest());
    job->texts = read_texts(job->request, bundle);
    scheduler.submit(job);
    std::unique_lock lock(job->mutex);
    job->changed.wait(lock, [&] { return job->done; });
    if (job->error)
      std::rethrow_exception(job->error);
    return true;
  }

private:
  static bool is_modest(const Manifest& manifest) {
    const bool small_factors = std::ranges::all_of(manifest.factors, [](const FactorSpec& factor) {
      return factor.height <= 256 && factor.width <= 256;
    });
    const bool small_residuals = std::ranges::all_of(
        manifest.residuals, [](const auto& residual) { return residual.second.channels <= 512; });
    const bool small_hints = std::ranges::all_of(manifest.graphs, [](const auto& graph) {
      return std::ranges::all_of(graph.second.outputs, [](const TensorSpec& tensor) {
        return tensor.shape.size() < 2 || tensor.shape[1] <= 512;
      });
    });
    return small_factors && small_residuals && small_hints && manifest.latent_channels <= 64 &&
           manifest.max_length <= 256 && manifest.hidden_size <= 1024 &&
           manifest.schedule.num_train_timesteps <= 2000;
  }

  BundleFolder folder_;
};

// What a value is replaced by; the last stands for its removal.
inline const std::vector<nlohmann::json>& replacements() {
  using nlohmann::json;
  static const std::vector<json> values{nullptr,
                                        true,
                                        0,
                                        1,
                                        2,
                                        -1,
                                        std::int64_t{1} << 40,
                                        0.5,
                                        1e300,
                                        "",
                                        "x",
                                        "segmentation",
                                        "image",
                                        "sample",
                                        "backbone",
                                        "vae_decoder",
                                        "float16",
                                        "int64",
                                        "down_residual_0",
                                        json::array(),
                                        json::object(),
                                        json::array({json::array()}),
                                        json(json::value_t::discarded)};
  return values;
}

// Pointers to all values of a document.
inline std::vector<nlohmann::json::json_pointer> places(const nlohmann::json& document) {
  std::vector<nlohmann::json::json_pointer> all;
  const auto visit = [&](const auto& self, const nlohmann::json& value,
                         const nlohmann::json::json_pointer& path) -> void {
    if (!path.empty())
      all.push_back(path);
    if (value.is_object())
      for (const auto& [key, inner] : value.items())
        self(self, inner, path / key);
    if (value.is_array())
      for (std::size_t i = 0; i < value.size(); ++i)
        self(self, value[i], path / i);
  };
  visit(visit, document, nlohmann::json::json_pointer());
  return all;
}

// Replaces or removes the value at a place, if the document still has it.
inline void spoil(nlohmann::json& document, const nlohmann::json::json_pointer& place,
                  const nlohmann::json& value) {
  if (!document.contains(place))
    return;
  if (!value.is_discarded()) {
    document[place] = value;
    return;
  }
  auto& parent = document[place.parent_pointer()];
  if (parent.is_array())
    parent.erase(std::stoul(place.back()));
  else
    parent.erase(place.back());
}

}  // namespace fgdm::testing
