#pragma once

#include <algorithm>
#include <array>
#include <filesystem>
#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <vector>

#include "fake_sessions.hpp"
#include "fgdm/sha256.hpp"
#include "request.hpp"
#include "scheduler.hpp"

// A bundle whose manifest is spoilt, opened and asked for a picture.
namespace fgdm::testing {

// The shipped bundle without its weights, so that it opens in a millisecond: every graph's file is
// one byte, since fakes stand in for the graphs.
class SpoiltBundle {
public:
  explicit SpoiltBundle(std::filesystem::path folder) : folder_(std::move(folder)) {
    const auto source = std::filesystem::path(FGDM_BUNDLES) / "scenes";
    std::filesystem::create_directories(folder_);
    std::ifstream(source / "manifest.json") >> manifest_;
    auto files = nlohmann::json::object();
    const auto add = [&](const std::string& name) {
      files[name] = {{"size", std::filesystem::file_size(folder_ / name)},
                     {"sha256", sha256_file(folder_ / name)}};
    };
    const auto overwrite = std::filesystem::copy_options::overwrite_existing;
    std::filesystem::create_directories(folder_ / "tokenizer");
    for (const auto& [name, file] : manifest_["files"].items()) {
      if (!name.starts_with("tokenizer/") && name != "palette.json")
        continue;
      std::filesystem::copy_file(source / name, folder_ / name, overwrite);
      add(name);
    }
    for (const auto& [name, graph] : manifest_["graphs"].items()) {
      const auto file = graph["file"].get<std::string>();
      std::ofstream(folder_ / file) << 'x';
      add(file);
    }
    manifest_["files"] = files;
  }

  ~SpoiltBundle() {
    std::error_code ignored;
    std::filesystem::remove_all(folder_, ignored);
  }
  SpoiltBundle(const SpoiltBundle&) = delete;
  SpoiltBundle& operator=(const SpoiltBundle&) = delete;

  // The manifest before anything was done to it.
  const nlohmann::json& manifest() const { return manifest_; }

  // Makes these bytes the manifest, with the hash that fits; opens the bundle and paints a picture
  // with fake graphs. False where sizes are beyond a test's memory, and nothing was painted. Throws
  // fgdm::Error for a bundle or request that is refused, and nothing else, whatever the bytes are.
  bool generate(std::string_view manifest) const {
    Sha256 hash;
    hash.update(std::as_bytes(std::span(manifest)));
    std::ofstream(folder_ / "manifest.json", std::ios::binary) << manifest;
    std::ofstream(folder_ / "manifest.sha256") << hash.hex() << "  manifest.json\n";
    const auto bundle = Bundle::open(folder_);
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

  std::filesystem::path folder_;
  nlohmann::json manifest_;
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
