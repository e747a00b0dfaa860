#include "editing.hpp"

#include <algorithm>

#include "attended_cells.hpp"
#include "editing_options.hpp"
#include "fgdm/guidance.hpp"
#include "fgdm/noise.hpp"
#include "read_map.hpp"
#include "start_picture.hpp"

namespace fgdm {
namespace {

// Where a map has a class: 1, else 0; of the run's size.
Pixels region_of(const FactorRun& run, int index, const JobState& job, const Bundle& bundle,
                 const ChosenMaps& maps) {
  const auto& size = run.size;
  std::vector<std::uint8_t> labels(pixels(size));
  if (run.factor.is_image)
    labels = maps.last_labels(size);
  else
    labels = read_map(bundle, run.factor, job.request.editing->inversion->picture).snapped;
  for (auto& label : labels)
    label = label == index ? 1 : 0;
  return {size.height, size.width, std::move(labels)};
}

std::vector<std::uint8_t> both(std::vector<std::uint8_t> cells,
                               const std::vector<std::uint8_t>& others) {
  if (cells.empty() || others.empty())
    return cells.empty() ? others : cells;
  for (std::size_t i = 0; i < cells.size(); ++i)
    cells[i] = cells[i] != 0 && others[i] != 0 ? 1 : 0;
  return cells;
}

// What a run that inverts has passed through, from its noisiest latents to the picture's.
std::vector<float> all_visited(const Trajectory& trajectory) {
  const auto& run = *trajectory.run;
  std::vector<float> visited;
  const auto add = [&](std::span<const float> latents) {
    visited.insert(visited.end(), latents.begin(), latents.end());
  };
  if (!run.goes_back()) {
    for (int step = run.first + 1; step <= run.end(); ++step)
      add(latents_before(run, step));
    return visited;
  }
  // Its own last latents are where sampling begins.
  const auto& clean = run.start->latents;
  const auto count = trajectory.visited.size() / clean.size();
  for (std::size_t back = count - 1; back-- > 0;)
    add(std::span(trajectory.visited).subspan(back * clean.size(), clean.size()));
  add(clean);
  return visited;
}

}  // namespace

std::vector<EditRow> edit_rows(const FactorRun& run, const FactorTexts& texts,
                               const std::vector<Embeddings>& embeddings, const JobState& job,
                               const Bundle& bundle, const ChosenMaps& maps) {
  std::vector<EditRow> rows;
  const auto& edits = job.request.editing->edits;
  for (std::size_t i = 0; i < edits.size(); ++i) {
    const auto& edit = edits[i];
    if (edit.scale == 0.0)
      continue;
    std::vector<std::uint8_t> cells;
    if (!edit.mask.data.empty())
      cells = cells_of(edit.mask, run.size);
    if (const int index = texts.edits.at(i).region; index >= 0) {
      const auto region = region_of(run, index, job, bundle, maps);
      if (std::ranges::count(region.data, 1) == 0)
        throw RequestError("edits[" + std::to_string(i) + "] region is \"" + edit.region +
                           "\", of which the map has nothing; name a class that it has, or give a "
                           "mask");
      cells = both(std::move(cells), cells_of(region, run.size));
    }
    const auto& text = texts.edits.at(i);
    rows.push_back({embeddings.at(i), static_cast<float>(edit.away ? -edit.scale : edit.scale),
                    run.first + edit.warm_up,
                    edit.cool_down ? run.first + *edit.cool_down : run.end(), edit.threshold,
                    std::move(cells), static_cast<std::size_t>(text.first_token),
                    static_cast<std::size_t>(edit.attention ? text.tokens : 0)});
  }
  return rows;
}

std::vector<float> latents_before(const FactorRun& run, int step) {
  const auto& clean = run.start->latents;
  if (step == run.end())
    return clean;
  std::vector<float> noise(clean.size());
  const auto& given = run.editing->noise;
  const auto place = static_cast<std::size_t>(step - run.first) * noise.size();
  if (given.empty())
    normal_noise(run.seed, 0, run.index, noise, static_cast<std::uint32_t>(step));
  else
    std::ranges::copy(std::span(given).subspan(place, noise.size()), noise.begin());
  return noised(clean, noise, run.sampler.level(step));
}

EditPrediction edit_prediction(const EditRow& edit, std::vector<float> noise,
                               std::span<const float> attention, const FactorSize& size,
                               int stride) {
  EditPrediction made{&edit, std::move(noise)};
  if (attention.empty())
    return made;
  const int rows = size.latent_height / stride, columns = size.latent_width / stride;
  const auto cells = static_cast<std::size_t>(rows * columns);
  made.attended = attended_cells(attention.subspan(edit.first_token * cells, edit.tokens * cells),
                                 rows, columns, stride, edit.threshold);
  return made;
}

bool sees_only_attention(const FactorRun& run, int step, const NoiseSchedule& schedule) {
  return run.sampler.timesteps()[static_cast<std::size_t>(step)] >
         0.8 * schedule.num_train_timesteps;
}

std::vector<float> edited(std::span<const float> positive, std::span<const float> negative,
                          float guidance_scale, std::span<const EditPrediction> edits, int channels,
                          bool only_attention, std::vector<std::uint8_t>& touched) {
  const auto base = negative.empty() ? positive : negative;
  std::vector<GuidanceTerm> terms;
  if (!negative.empty())
    terms.push_back({positive, guidance_scale});
  std::vector<std::vector<std::uint8_t>> cells;
  for (const auto& [edit, noise, attended] : edits) {
    auto where = attended;
    if (where.empty() || !only_attention)
      where = both(std::move(where),
                   strongest_cells(base, noise, channels, edit->threshold, edit->within));
    cells.push_back(both(std::move(where), edit->within));
  }
  touched.resize(positive.size() / static_cast<std::size_t>(channels));
  for (std::size_t i = 0; i < edits.size(); ++i) {
    const auto& [edit, noise, attended] = edits[i];
    terms.push_back({noise, edit->weight, cells[i]});
    const auto& changed = edit->within.empty() ? cells[i] : edit->within;
    for (std::size_t cell = 0; cell < touched.size(); ++cell)
      if (changed[cell] != 0)
        touched[cell] = 1;
  }
  std::vector<float> out(positive.size());
  guide(base, terms, out);
  return out;
}

void remember_visited(Trajectory& trajectory) {
  const auto latents = trajectory.latents.floats(1);
  trajectory.visited.insert(trajectory.visited.end(), latents.begin(), latents.end());
}

void keep_unedited(Trajectory& trajectory) {
  const auto& touched = trajectory.touched;
  auto latents = trajectory.latents.floats(1);
  const auto step = static_cast<std::size_t>(trajectory.steps_taken() - 1);
  const auto kept = std::span(trajectory.run->editing->inversion->visited)
                        .subspan(step * latents.size(), latents.size());
  for (std::size_t i = 0; i < latents.size(); ++i)
    if (touched.empty() || touched[i % touched.size()] == 0)
      latents[i] = kept[i];
  trajectory.latents.write(latents);
}

std::vector<std::uint8_t> touched_pixels(const Trajectory& trajectory) {
  const auto& size = trajectory.run->size;
  const auto width = static_cast<std::size_t>(size.width);
  const auto columns = static_cast<std::size_t>(size.latent_width);
  std::vector<std::uint8_t> touched(pixels(size));
  if (trajectory.touched.empty())
    return touched;
  for (std::size_t pixel = 0; pixel < touched.size(); ++pixel) {
    const auto row = pixel / width * static_cast<std::size_t>(size.latent_height) /
                     static_cast<std::size_t>(size.height);
    touched[pixel] = trajectory.touched[row * columns + pixel % width * columns / width];
  }
  return touched;
}

void put_back(std::span<const std::uint8_t> anew, std::span<const std::uint8_t> original,
              std::span<std::uint8_t> picture) {
  const auto channels = picture.size() / anew.size();
  for (std::size_t pixel = 0; pixel < anew.size(); ++pixel)
    if (anew[pixel] == 0)
      std::ranges::copy(original.subspan(pixel * channels, channels),
                        picture.subspan(pixel * channels, channels).begin());
}

std::shared_ptr<const Inversion> found_inversion(const Trajectory& trajectory, const JobState& job,
                                                 const Bundle& bundle) {
  const auto& run = *trajectory.run;
  const auto& request = job.request;
  const auto& rgb = run.factor.is_image ? request.image.data : job.maps.at(run.factor.name).rgb;
  return std::make_shared<const Inversion>(
      Inversion{run.editing->settings, manifest_sha256(bundle), *request.height, *request.width,
                Pixels{run.size.height, run.size.width, rgb},
                run.goes_back() ? trajectory.latents.floats(1) : latents_before(run, run.first),
                trajectory.remainders, all_visited(trajectory)});
}

}  // namespace fgdm
