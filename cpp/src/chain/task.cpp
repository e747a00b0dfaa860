#include "task.hpp"

#include <algorithm>
#include <utility>

#include "fgdm/noise.hpp"
#include "fgdm/palette.hpp"
#include "precision.hpp"

namespace fgdm {
namespace {

std::vector<std::string> names_of(const Palette& palette, const std::vector<int>& indices) {
  std::vector<std::string> names;
  for (const int index : indices)
    names.push_back(palette.classes()[static_cast<std::size_t>(index)].name);
  return names;
}

}  // namespace

Task::Task(const Bundle& bundle, Graphs& graphs, ContextCache& contexts,
           std::shared_ptr<JobState> job, std::int64_t number, int decode_rows)
    : bundle_(bundle), manifest_(bundle.manifest()), graphs_(graphs), contexts_(contexts),
      job_(std::move(job)), request_(job_->request), number_(number),
      decoding_(manifest_, graphs, decode_rows, timings_),
      sessions_before_(graphs.total_seconds()) {
  result_.seed = *request_.seed;
  result_.truncated = job_->texts.truncated;
  result_.negative_truncated = job_->texts.negative_truncated;
}

void Task::begin() {
  begin_factor(0);
}

void Task::begin_factor(std::uint32_t index) {
  const auto& factor = manifest_.factors[index];
  job_->check();
  const auto& texts = job_->texts;
  auto positive = contexts_.get(texts.factors.at(index).prompt, timings_);
  auto negative = contexts_.get(texts.negative_prompt, timings_);
  run_ = std::make_unique<FactorRun>(manifest_, factor, index, request_, std::move(positive),
                                     std::move(negative));
  for (std::size_t i = 0; i < factor.conditionings.size(); ++i)
    if (const auto& network = factor.conditionings[i]; network.sees_image())
      run_->hints[i] = encode_control_image(manifest_, network, run_->size, run_->scales[i],
                                            control_image(network), graphs_, timings_);
  if (!factor.is_image)
    begin_objects(bundle_.palette(factor.palette), texts.factors.at(index));
  selection_.emplace(rules());
  begin_trajectories();
}

void Task::begin_objects(const Palette& palette, const FactorTexts& texts) {
  requested_ = texts.requested;
  result_.requested = names_of(palette, requested_);
  result_.excluded = names_of(palette, texts.excluded);
  result_.unread = names_of(palette, texts.unread);
  result_.unrecognized = texts.unrecognized;
  result_.unrecognized_omitted = texts.unrecognized_omitted;
}

SelectionRules Task::rules() const {
  if (run_->factor.is_image)
    return {1, run_->num_steps(), {}, 0.0, 0};
  const double enough = factor_stop_at_recall(request_, run_->factor);
  // Where nothing is asked for, every map has all of it.
  const bool first_wins = requested_.empty() && enough > 0.0;
  return {request_.candidates, run_->num_steps(), request_.prune, enough,
          first_wins ? 1 : request_.wave};
}

void Task::begin_trajectories() {
  for (const int candidate : selection_->sampling())
    if (auto& trajectory = trajectories_[candidate]; !trajectory)
      trajectory = std::make_unique<Trajectory>(*run_, candidate, initial_latents(candidate));
}

RowBuffer Task::initial_latents(int candidate) const {
  const auto elements = latent_elements(manifest_, run_->size);
  auto latents = latent_buffer(graphs_.device(), manifest_, run_->size, 1);
  const auto& given = run_->factor.is_image ? request_.latents : request_.condition_latents;
  if (given.empty()) {
    std::vector<float> noise(elements);
    normal_noise(*request_.seed, static_cast<std::uint32_t>(candidate), run_->index, noise);
    latents.write(noise);
  } else {
    latents.write(
        std::span(given).subspan(elements * static_cast<std::size_t>(candidate), elements));
  }
  return latents;
}

std::vector<float> Task::control_image(const ConditioningSpec& network) const {
  const auto& size = run_->size;
  std::vector<std::uint8_t> rgb(3 * pixels(size));
  if (const auto found = chosen_.find(network.condition); found != chosen_.end()) {
    const ChosenMap& map = found->second;
    std::vector<std::uint8_t> labels(pixels(size));
    resize_nearest(map.labels, map.size.height, map.size.width, labels, size.height, size.width);
    const Palette* palette = map.palette;
    if (!network.hint_palette.empty()) {
      const auto& trained = bundle_.palette(network.hint_palette);
      const auto table = match_classes(*palette, trained, network.recolor);
      for (auto& label : labels)
        if (label != unlabeled)
          label = static_cast<std::uint8_t>(table[label]);
      palette = &trained;
    }
    render_labels(*palette, labels, rgb);
  } else {
    rgb = request_.control_images.at(network.condition).data;
  }
  const auto count = pixels(size);
  std::vector<float> planes(rgb.size());
  for (std::size_t pixel = 0; pixel < count; ++pixel)
    for (std::size_t channel = 0; channel < 3; ++channel)
      planes[channel * count + pixel] = static_cast<float>(rgb[3 * pixel + channel]) / 255.0F;
  return planes;
}

std::vector<Trajectory*> Task::ready() const {
  std::vector<Trajectory*> found;
  if (run_)
    for (const int candidate : selection_->sampling())
      if (auto& trajectory = trajectories_.at(candidate); trajectory->step < selection_->until())
        found.push_back(trajectory.get());
  return found;
}

void Task::stepped(const std::vector<Trajectory*>& trajectories) {
  job_->check();
  std::vector<Trajectory*> sound;
  for (auto* trajectory : trajectories)
    if (trajectory->is_finite)
      sound.push_back(trajectory);
    else if (run_->factor.is_image)
      throw not_finite("step " + std::to_string(trajectory->step - 1) + ": the latent is");
    else
      drop_failed(*trajectory);
  call_step_callback(sound);
  while (run_ && ready().empty()) {
    job_->check();
    if (run_->factor.is_image)
      paint();
    else
      compare();
  }
}

// Goes on without a map whose latent, or the picture made of it, is not finite.
void Task::drop_failed(const Trajectory& failed) {
  ++candidates_failed_;
  const int candidate = failed.candidate;
  auto empty = measured(failed, std::vector<std::uint8_t>(pixels(run_->size), unlabeled),
                        std::vector<std::uint8_t>(3 * pixels(run_->size)));
  empty.candidate.failed = true;
  measured_.insert_or_assign(candidate, std::move(empty));
  selection_->lost(candidate);
  end_candidate(candidate);
}

BackendError Task::not_finite(const std::string& what) const {
  return BackendError("factor " + run_->factor.name + ", " + what + " not finite; " +
                      finer_precision(graphs_.precision()) + "a lower guidance scale may help");
}

const std::string& Task::preview_decoder() const {
  return manifest_.preview_decoder.empty() ? manifest_.vae_decoder : manifest_.preview_decoder;
}

// Calls it once for all candidates that are equally far.
void Task::call_step_callback(const std::vector<Trajectory*>& trajectories) {
  if (!job_->callback)
    return;
  std::map<int, std::vector<Trajectory*>> by_step;
  for (auto* trajectory : trajectories)
    by_step[trajectory->step].push_back(trajectory);
  for (const auto& entry : by_step) {
    const int steps = entry.first;
    const auto& rows = entry.second;  // a binding could not be captured by clang 14's lambdas
    std::vector<int> candidates;
    std::vector<float> predicted_x0;
    for (const auto* row : rows) {
      candidates.push_back(row->candidate);
      const auto latents = row->predicted_x0.floats(1);
      predicted_x0.insert(predicted_x0.end(), latents.begin(), latents.end());
    }
    const auto preview = [this, &rows](int candidate) {
      const auto found = std::ranges::find(rows, candidate, &Trajectory::candidate);
      if (found == rows.end())
        throw RequestError("preview of candidate " + std::to_string(candidate) +
                           ", which did not take this step; StepInfo names those that did");
      return picture(preview_decoder(), (*found)->predicted_x0);
    };
    const auto& size = run_->size;
    const StepInfo info{
        run_->factor.name,  steps - 1,
        run_->num_steps(),  run_->sampler.timesteps()[static_cast<std::size_t>(steps - 1)],
        candidates,         manifest_.latent_channels,
        size.latent_height, size.latent_width,
        predicted_x0,       preview};
    if (job_->callback(info))
      throw CancelledError("the step callback stopped the request after step " +
                           std::to_string(steps) + " of factor " + run_->factor.name);
  }
}

Pixels Task::picture(const std::string& decoder, const RowBuffer& latents) {
  auto made = decoding_.picture(decoder, run_->size, latents);
  if (!made)
    throw not_finite("the picture that " + decoder + " made is");
  return std::move(*made);
}

// Decodes and measures what is sampled: predicted x0 before the last step, then the map. Drops what
// can't be measured.
std::vector<MapRecall> Task::measure_maps() {
  const bool predicted = !selection_->at_end();
  const auto& palette = bundle_.palette(run_->factor.palette);
  const auto& size = run_->size;
  const auto count = pixels(size);
  std::vector<const Trajectory*> seen, failed;
  std::vector<const RowBuffer*> rows;
  for (const int candidate : selection_->sampling()) {
    seen.push_back(trajectories_.at(candidate).get());
    rows.push_back(predicted ? &seen.back()->predicted_x0 : &seen.back()->latents);
  }
  std::vector<MapRecall> recalls;
  const auto use = [&](std::size_t first, std::size_t maps, const RowBuffer& pictures) {
    const auto made =
        graphs_.device()->label(palette, pictures.data(), maps, size.height, size.width);
    const bool all_sound = pictures.is_finite(maps);
    for (std::size_t map = 0; map < maps; ++map) {
      const auto& trajectory = *seen[first + map];
      if (!all_sound && !pictures.is_finite(1, map)) {
        failed.push_back(&trajectory);
        continue;
      }
      const auto labels = std::span(made.labels).subspan(map * count, count);
      std::vector<std::uint8_t> rgb(3 * count);
      render_labels(palette, std::span(made.snapped).subspan(map * count, count), rgb);
      auto found = measured(trajectory, {labels.begin(), labels.end()}, std::move(rgb));
      found.candidate.pruned = predicted;
      recalls.push_back(found.recall);
      measured_.insert_or_assign(trajectory.candidate, std::move(found));
    }
  };
  decoding_.decode(predicted ? preview_decoder() : manifest_.vae_decoder, size, rows, use);
  for (const auto* trajectory : failed)
    drop_failed(*trajectory);
  return recalls;
}

// What a candidate's labels hold, and their colours.
auto Task::measured(const Trajectory& trajectory, std::vector<std::uint8_t> labels,
                    std::vector<std::uint8_t> rgb) const -> Measured {
  const auto& palette = bundle_.palette(run_->factor.palette);
  const auto& size = run_->size;
  auto recall = measure(labels, requested_, factor_min_area(request_, run_->factor));
  Candidate candidate{trajectory.candidate,
                      recall.recall,
                      names_of(palette, recall.found),
                      names_of(palette, recall.missing),
                      recall.smallest_area,
                      {size.height, size.width, std::move(rgb)},
                      {size.height, size.width, std::move(labels)},
                      trajectory.step};
  return {std::move(candidate), std::move(recall)};
}

// Spends less on candidates that cannot win, as the selection says.
void Task::compare() {
  const auto maps = selection_->looks() ? measure_maps() : std::vector<MapRecall>{};
  for (const int candidate : selection_->seen(maps))
    end_candidate(candidate);
  if (selection_->done())
    choose();
  else
    begin_trajectories();
}

// Books a candidate that goes no further.
void Task::end_candidate(int candidate) {
  const auto& trajectory = *trajectories_.at(candidate);
  timings_.add(trajectory.timings);
  result_.map_rows += run_->rows(0, trajectory.step);
  rows_saved_ += run_->rows(trajectory.step, run_->num_steps());
  trajectories_.erase(candidate);
}

// Chooses among the maps that were finished, and goes on with the next factor.
void Task::choose() {
  rows_saved_ += (request_.candidates - selection_->begun()) * run_->rows(0, run_->num_steps());
  std::vector<MapRecall> finished;
  std::vector<int> places;
  result_.candidates.clear();
  for (auto& [index, map] : std::exchange(measured_, {})) {
    if (!map.candidate.pruned && !map.candidate.failed) {
      places.push_back(static_cast<int>(result_.candidates.size()));
      finished.push_back(std::move(map.recall));
    }
    result_.candidates.push_back(std::move(map.candidate));
  }
  if (finished.empty())
    throw not_finite("the latents or the pictures of all maps are");
  result_.chosen = places[select(finished)];

  // The painted map is snapped: every pixel takes the nearest class, however far.
  const auto& palette = bundle_.palette(run_->factor.palette);
  ChosenMap& chosen = chosen_[run_->factor.name];
  chosen = {&palette, run_->size, std::vector<std::uint8_t>(pixels(run_->size))};
  decode_labels(palette, result_.candidates[static_cast<std::size_t>(result_.chosen)].map.data,
                chosen.labels, 0);
  begin_factor(run_->index + 1);
}

void Task::paint() {
  const auto& trajectory = *trajectories_.at(0);
  result_.image = picture(manifest_.vae_decoder, trajectory.latents);
  timings_.add(trajectory.timings);
  trajectories_.clear();
  run_.reset();
}

Result Task::result() {
  using Seconds = std::chrono::duration<double>;
  const double total = Seconds(JobState::Clock::now() - began_).count();
  const double sessions = graphs_.total_seconds() - sessions_before_;
  result_.timings = timings_.seconds();
  result_.timings["queue"] = Seconds(began_ - job_->submitted).count();
  result_.timings["waiting"] = std::max(0.0, sessions - timings_.total());
  result_.timings["core"] = std::max(0.0, total - sessions);
  result_.timings["total"] = total;
  result_.request = request_;
  return std::move(result_);
}

}  // namespace fgdm
