#include "batch_times.hpp"

#include <algorithm>
#include <charconv>
#include <chrono>
#include <nlohmann/json.hpp>
#include <set>

#include "embedding_cache.hpp"
#include "factor_run.hpp"
#include "fgdm/error.hpp"
#include "json_field.hpp"
#include "request.hpp"
#include "step_batch.hpp"
#include "wording.hpp"

namespace fgdm {

namespace {

// Throws BundleError for batch times that `fgdm profile` didn't write so.
[[noreturn]] void refuse_batch_times(const std::string& what) {
  throw BundleError(excerpt(what, 500));
}

using BatchTimesField = JsonField<refuse_batch_times>;

constexpr int most_rows = 1 << 24;

int rows_of(const std::string& text) {
  int rows = 0;
  const auto* end = text.data() + text.size();
  const auto [rest, failure] = std::from_chars(text.data(), end, rows);
  if (failure != std::errc() || rest != end || rows < 1 || rows > most_rows)
    refuse_batch_times("\"" + text + "\" isn't a number of rows from 1 to " + shown(most_rows));
  return rows;
}

}  // namespace

std::vector<BatchTimes> read_batch_times(const FileTree& files, const std::string& name,
                                         const std::string& key) {
  if (!files.has(name))
    return {};
  try {
    const auto json = parse_json(read_text(files, name));
    const auto measured = BatchTimesField(json, "")["profiles"];
    std::vector<BatchTimes> all;
    if (!measured.has(key))
      return {};
    for (const auto& entry : measured[key].items()) {
      BatchTimes times{entry["latent_height"].small(1, 65536),
                       entry["latent_width"].small(1, 65536),
                       {},
                       entry.text_or("backbone", "")};
      for (const auto& [rows, seconds] : entry["seconds"].entries())
        times.seconds[rows_of(rows)] = seconds.number(1e-9, 1e9);
      all.push_back(std::move(times));
    }
    return all;
  } catch (const BundleError& error) {
    throw BundleError("the batch times " + files.place(name) + " can't be read (" + error.what() +
                      "); measure again with fgdm profile, or delete it");
  }
}

namespace {

// Of the image's size, black, for every control image that no factor makes.
std::map<std::string, Pixels> black_control_images(const Manifest& manifest, int height,
                                                   int width) {
  const auto bytes = 3 * static_cast<std::size_t>(height) * static_cast<std::size_t>(width);
  std::map<std::string, Pixels> images;
  for (const auto& network : manifest.factors.back().conditionings)
    if (network.sees_image() && !manifest.makes_map(network.condition))
      images[network.condition] = {height, width, std::vector<std::uint8_t>(bytes)};
  return images;
}

// The median of the steps after the first, each of which is the step `step`.
double measure_steps(StepBatch& batch, std::span<Trajectory* const> trajectories, int step,
                     int repeats, const std::function<void()>& check) {
  std::vector<double> seconds;
  for (int repeat = 0; repeat <= repeats; ++repeat) {
    check();
    for (auto* trajectory : trajectories)
      trajectory->step = step;
    const auto begin = std::chrono::steady_clock::now();
    batch.run(trajectories);
    seconds.push_back(
        std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count());
  }
  std::sort(seconds.begin() + 1, seconds.end());
  return seconds[1 + static_cast<std::size_t>(repeats) / 2];
}

}  // namespace

std::vector<BatchTimes> measure_batches(const Bundle& bundle, Graphs& graphs,
                                        std::span<const int> rows, int repeats,
                                        std::optional<int> height, std::optional<int> width,
                                        const std::function<void()>& check) {
  const auto& manifest = bundle.manifest();
  Request asked;
  asked.prompt = "a map";
  asked.guidance = GuidanceKind::cfg;
  // Whatever the bundle's scale: at 1 a step has one row, and half of the rows would be missing.
  asked.guidance_scale = asked.condition_guidance_scale = 2.0;
  asked.height = height.value_or(manifest.factors.back().height);
  asked.width = width.value_or(manifest.factors.back().width);
  check_image_size(asked, manifest);
  asked.control_images = black_control_images(manifest, *asked.height, *asked.width);
  for (const auto& factor : manifest.factors)
    if (!factor.is_image)
      asked.factors[factor.name];  // no factor is left out
  const auto request = resolve(asked, manifest);
  Loras loras(bundle, graphs);
  EmbeddingCache cache(bundle, graphs, loras, 1);
  Timings unused;
  const EncodedText text{"", bundle.tokenizer().encode("")};
  const auto prompt = cache.get({{&text, &unused}}).front();

  const std::set<int> ascending(rows.begin(), rows.end());
  std::vector<BatchTimes> times;
  for (std::uint32_t index = 0; index < manifest.factors.size(); ++index) {
    const auto& factor = manifest.factors[index];
    FactorRun run(manifest, factor, index, request, prompt, prompt);
    const RowBuffer black(graphs.device(), DType::float32, {3, run.size.height, run.size.width}, 1);
    for (std::size_t i = 0; i < factor.conditionings.size(); ++i)
      if (factor.conditionings[i].sees_image())
        run.hints[i] = encode_control_image(manifest, factor.conditionings[i], run.size,
                                            run.scales[i], black, graphs, unused);
    FactorRun unguided = run;
    unguided.guidance.guidance_scale = 1.0F;
    auto latent = latent_buffer(graphs.device(), manifest, run.size, 1);
    latent.write(std::vector<float>(latent.view(1).elements(), 0.5F));
    // The second step is shallow where the factor caches.
    for (int step = run.first; step < run.end() && step < run.first + 2; ++step) {
      if (step > run.first && !run.is_shallow(step))
        continue;
      BatchTimes measured{run.size.latent_height, run.size.latent_width, {}, run.backbone(step)};
      const auto is_alike = [&](const BatchTimes& other) {
        return other.latent_height == measured.latent_height &&
               other.latent_width == measured.latent_width && other.backbone == measured.backbone;
      };
      if (!factor.is_image && std::ranges::any_of(times, is_alike))
        continue;  // what maps of this size take is known
      for (const int count : ascending) {
        std::vector<Trajectory> trajectories;  // pairs, as guidance makes them; an odd row has none
        for (int left = count; left > 0; left -= 2)
          trajectories.emplace_back(left == 1 ? unguided : run, 0, latent);
        std::vector<Trajectory*> pointers;
        for (auto& trajectory : trajectories)
          pointers.push_back(&trajectory);
        try {
          if (run.is_shallow(step))
            StepBatch(manifest, graphs, loras).run(pointers);  // what it keeps
          StepBatch batch(manifest, graphs, loras);
          measured.seconds[count] = measure_steps(batch, pointers, step, repeats, check);
        } catch (const OutOfMemoryError&) {
          if (measured.seconds.empty())
            throw;
          graphs.device()->trim();
          break;
        }
      }
      times.push_back(std::move(measured));
    }
  }
  return times;
}

}  // namespace fgdm
