#include "task.hpp"

#include <algorithm>
#include <span>
#include <utility>

#include "fgdm/noise.hpp"
#include "precision.hpp"
#include "start_picture.hpp"

namespace fgdm {

Task::Task(const Bundle& bundle, Graphs& graphs, EmbeddingCache& embeddings,
           std::shared_ptr<JobState> job, std::int64_t number, int decode_rows)
    : bundle_(bundle), manifest_(bundle.manifest()), graphs_(graphs), embeddings_(embeddings),
      job_(std::move(job)), request_(job_->request), number_(number),
      groups_(factor_groups(request_, manifest_)), maps_(bundle, graphs),
      joint_hints_(bundle, graphs, maps_), measuring_(bundle, request_, job_->texts),
      result_(begun_result(*job_)), decoding_(manifest_, graphs, decode_rows),
      sessions_before_(graphs.total_seconds()) {}

void Task::begin() {
  for (std::uint32_t index = 0; index < manifest_.factors.size(); ++index)
    if (is_given(request_, manifest_.factors[index]))
      take_given(index);
  begin_group();
}

// Measures a map that was given as if it had been sampled.
void Task::take_given(std::uint32_t index) {
  const auto& factor = manifest_.factors[index];
  const auto& map = job_->maps.at(factor.name);
  auto& result = result_.factors[factor.name] = begun_result(*job_, bundle_, index);
  result.given = true;
  result.candidates = {measuring_.map(index, 0, 0, map.labels, map.rgb).candidate};
  result.chosen = 0;
  maps_.keep(
      {&factor, factor_size(request_, manifest_, factor), map.snapped, map.rgb, std::nullopt});
}

void Task::begin_group() {
  if (next_group_ == groups_.size()) {
    group_.reset();
    return;
  }
  const auto& group = groups_.at(next_group_++);
  Group::Runs runs;
  for (const auto index : group) {
    job_->check();
    runs.push_back(begin_run(index, group));
  }
  group_.emplace(std::move(runs));
  selection_.emplace(rules());
  begin_candidates();
}

std::unique_ptr<FactorRun> Task::begin_run(std::uint32_t index,
                                           const std::vector<std::uint32_t>& group) {
  const auto& factor = manifest_.factors[index];
  const auto& texts = job_->texts.factors.at(index);
  auto& timings = timings_[factor.name];
  auto positive = embeddings_.get(texts.prompt, timings);
  auto negative = embeddings_.get(texts.negative_prompt, timings);
  auto run = std::make_unique<FactorRun>(manifest_, factor, index, request_, std::move(positive),
                                         std::move(negative));
  begin_networks(*run, group);
  begin_start(*run);
  if (!factor.is_image)
    result_.factors[factor.name] = begun_result(*job_, bundle_, index);
  return run;
}

// A factor's place in a group, if it is there.
std::optional<std::size_t> Task::member_of(const std::vector<std::uint32_t>& group,
                                           const std::string& factor) const {
  const auto found = std::ranges::find_if(
      group, [&](std::uint32_t index) { return manifest_.factors[index].name == factor; });
  if (found == group.end())
    return std::nullopt;
  return static_cast<std::size_t>(found - group.begin());
}

// The latents of the factors `names`, where a network of the run sees them.
std::vector<SeenLatent> Task::seen_latents(const FactorRun& run,
                                           const std::vector<std::string>& names,
                                           const std::vector<std::uint32_t>& group) {
  std::vector<SeenLatent> all;
  for (const auto& name : names) {
    const auto member = member_of(group, name);
    auto& seen = all.emplace_back();
    if (name == run.factor.name)
      seen.of = SeenLatent::Of::itself;
    else if (member)
      seen = {SeenLatent::Of::group, *member, nullptr};
    else
      seen = {SeenLatent::Of::earlier, 0,
              maps_.has(name) ? &maps_.latents(name, timings_[run.factor.name]) : nullptr};
  }
  return all;
}

// What the factor's networks see: control images, and the latents of earlier factors.
void Task::begin_networks(FactorRun& run, const std::vector<std::uint32_t>& group) {
  auto& timings = timings_[run.factor.name];
  run.backbone_sees = seen_latents(run, run.factor.latents, group);
  for (std::size_t i = 0; i < run.factor.conditionings.size(); ++i) {
    const auto& network = run.factor.conditionings[i];
    if (network.sees_image())
      run.joint_maps[i] = member_of(group, network.condition);
    if (network.sees_image() && !run.joint_maps[i]) {
      run.active[i] = maps_.has(network.condition) || !manifest_.makes_map(network.condition);
      if (run.active[i])
        run.hints[i] = encode_control_image(manifest_, network, run.size, run.scales[i],
                                            control_image(network, run.size), graphs_, timings);
    }
    run.seen[i] = seen_latents(run, network.latents, group);
  }
}

std::vector<float> Task::control_image(const ConditioningSpec& network,
                                       const FactorSize& size) const {
  return maps_.has(network.condition)
             ? maps_.control_image(network, size)
             : planes_of(request_.control_images.at(network.condition).data);
}

// The picture that the factor begins with: the request's image, or a map that is refined.
void Task::begin_start(FactorRun& run) {
  const bool is_image = run.factor.is_image;
  const auto given = job_->maps.find(run.factor.name);
  if (is_image ? request_.image.data.empty() : given == job_->maps.end())
    return;
  const auto& rgb = is_image ? request_.image.data : given->second.rgb;
  auto& start = run.start.emplace();
  start.latents =
      encode_picture(manifest_, run.size, rgb, graphs_, timings_[run.factor.name]).floats(1);
  if (!is_image || request_.mask.data.empty())
    return;
  start.anew = cells_of(request_.mask, run.size);
  start.noise = initial_noise(run, 0);
  start.from_noise = *request_.strength == 1.0;
}

SelectionRules Task::rules() const {
  const auto& run = measured_run();
  if (group_->is_image())
    return {1, run.num_steps(), {}, 0.0, 0};
  const auto& options = request_.factors.at(run.factor.name);
  if (!run.factor.makes_labels())
    return {*options.candidates, run.num_steps(), {}, 0.0, 0};
  const double enough = *options.stop_at_recall;
  // Where nothing is asked for, every map has all of it.
  const bool first_wins = job_->texts.factors.at(run.index).requested.empty() && enough > 0.0;
  return {*options.candidates, run.num_steps(), *options.prune, enough,
          first_wins ? 1 : *options.wave};
}

void Task::begin_candidates() {
  for (const int candidate : selection_->sampling()) {
    if (group_->has_begun(candidate))
      continue;
    std::vector<RowBuffer> latents;
    for (const auto& run : group_->runs())
      latents.push_back(initial_latents(*run, candidate));
    group_->begin(candidate, std::move(latents));
  }
}

std::vector<float> Task::initial_noise(const FactorRun& run, int candidate) const {
  const auto elements = latent_elements(manifest_, run.size);
  const auto& given = factor_latents(request_, run.factor);
  std::vector<float> noise(elements);
  if (given.empty())
    normal_noise(*request_.seed, static_cast<std::uint32_t>(candidate), run.index, noise);
  else
    std::ranges::copy(
        std::span(given).subspan(elements * static_cast<std::size_t>(candidate), elements),
        noise.begin());
  return noise;
}

RowBuffer Task::initial_latents(const FactorRun& run, int candidate) const {
  auto values = initial_noise(run, candidate);
  if (run.start && !run.start->from_noise)
    values = noised(run.start->latents, values, run.sampler.level(run.first));
  else
    for (float& value : values)
      value *= run.sampler.initial_scale();
  auto latents = latent_buffer(graphs_.device(), manifest_, run.size, 1);
  latents.write(values);
  return latents;
}

std::vector<Trajectory*> Task::ready() const {
  std::vector<Trajectory*> found;
  if (group_)
    for (const int candidate : selection_->sampling())
      if (group_->has_begun(candidate))  // not where there was no memory to begin it
        if (auto* trajectory = group_->next(candidate, selection_->until()))
          found.push_back(trajectory);
  return found;
}

void Task::stepped(const std::vector<Trajectory*>& trajectories) {
  job_->check();
  std::vector<Trajectory*> sound;
  for (auto* trajectory : trajectories) {
    if (!trajectory->is_finite) {
      if (group_->is_image())
        throw not_finite(trajectory->run->factor,
                         "step " + std::to_string(trajectory->steps_taken() - 1) +
                             ": the latent is");
      drop_failed(trajectory->candidate);
      continue;
    }
    if (trajectory->run->start && !trajectory->run->start->anew.empty())
      keep_pixels(*trajectory);
    sound.push_back(trajectory);
  }
  call_step_callback(sound);
  renew_hints(sound);
  while (group_ && ready().empty()) {
    job_->check();
    if (group_->is_image()) {
      const auto& image = *group_->trajectories(0).front();
      timings_[image.run->factor.name].add(image.timings);
      paint(picture(*image.run, manifest_.vae_decoder, image.latents));
      begin_group();
    } else {
      compare();
    }
  }
}

// Lets joint factors' networks see the maps of others as they are now, where that is due.
void Task::renew_hints(const std::vector<Trajectory*>& trajectories) {
  if (!request_.joint_refresh)
    return;
  for (const int candidate : joint_hints_.renew(*group_, trajectories, *request_.joint_refresh,
                                                preview_decoder(), decoding_, timings_))
    drop_failed(candidate);
}

// Goes on without a candidate whose latent, or the picture made of it, is not finite.
void Task::drop_failed(int candidate) {
  ++candidates_failed_;
  const auto& run = measured_run();
  const auto steps = group_->trajectories(candidate)[group_->measured()]->steps_taken();
  measured_.insert_or_assign(candidate, measuring_.failed(run.index, candidate, steps));
  selection_->lost(candidate);
  end_candidate(candidate);
}

BackendError Task::not_finite(const FactorSpec& factor, const std::string& what) const {
  return BackendError("factor " + factor.name + ", " + what + " not finite; " +
                      finer_precision(graphs_.precision()) + "a lower guidance scale may help");
}

const std::string& Task::preview_decoder() const {
  return manifest_.preview_decoder.empty() ? manifest_.vae_decoder : manifest_.preview_decoder;
}

// Calls it once for all candidates that are equally far in a factor.
void Task::call_step_callback(const std::vector<Trajectory*>& trajectories) {
  if (!job_->callback)
    return;
  std::map<std::pair<std::uint32_t, int>, std::vector<Trajectory*>> by_step;
  for (auto* trajectory : trajectories)
    by_step[{trajectory->run->index, trajectory->step}].push_back(trajectory);
  for (const auto& entry : by_step) {
    const auto& rows = entry.second;  // a binding could not be captured by clang 14's lambdas
    const auto& run = *rows.front()->run;
    const int steps = rows.front()->steps_taken();
    std::vector<int> candidates;
    std::vector<float> predicted_x0;
    for (const auto* row : rows) {
      candidates.push_back(row->candidate);
      const auto latents = row->predicted_x0.floats(1);
      predicted_x0.insert(predicted_x0.end(), latents.begin(), latents.end());
    }
    const auto preview = [this, &rows, &run](int candidate) {
      const auto found = std::ranges::find(rows, candidate, &Trajectory::candidate);
      if (found == rows.end())
        throw RequestError("preview of candidate " + std::to_string(candidate) +
                           ", which did not take this step; StepInfo names those that did");
      return picture(run, preview_decoder(), (*found)->predicted_x0);
    };
    const auto& size = run.size;
    const StepInfo info{run.factor.name,
                        steps - 1,
                        run.num_steps(),
                        run.sampler.timesteps()[static_cast<std::size_t>(entry.first.second - 1)],
                        candidates,
                        manifest_.latent_channels,
                        size.latent_height,
                        size.latent_width,
                        predicted_x0,
                        preview};
    if (job_->callback(info))
      throw CancelledError("the step callback stopped the request after step " +
                           std::to_string(steps) + " of factor " + run.factor.name);
  }
}

Pixels Task::picture(const FactorRun& run, const std::string& decoder, const RowBuffer& latents) {
  auto made = decoding_.picture(decoder, run.size, latents, timings_[run.factor.name]);
  if (!made)
    throw not_finite(run.factor, "the picture that " + decoder + " made is");
  return std::move(*made);
}

// Decodes and measures what is sampled: predicted x0 before the last step, then the map. Drops what
// can't be measured.
std::vector<MapRecall> Task::measure_maps() {
  const bool predicted = !selection_->at_end();
  const auto& run = measured_run();
  std::vector<const Trajectory*> seen;
  std::vector<int> failed;
  std::vector<const RowBuffer*> rows;
  for (const int candidate : selection_->sampling()) {
    seen.push_back(group_->trajectories(candidate)[group_->measured()].get());
    rows.push_back(predicted ? &seen.back()->predicted_x0 : &seen.back()->latents);
  }
  std::vector<MapRecall> recalls;
  const auto use = [&](std::size_t first, std::size_t count, const RowBuffer& pictures) {
    const auto shown = std::span(seen).subspan(first, count);
    auto found = measuring_.pictures(pictures, shown, *graphs_.device());
    for (std::size_t i = 0; i < count; ++i) {
      if (!found[i]) {
        failed.push_back(shown[i]->candidate);
        continue;
      }
      found[i]->candidate.pruned = predicted;
      recalls.push_back(found[i]->recall);
      measured_.insert_or_assign(shown[i]->candidate, std::move(*found[i]));
    }
  };
  decoding_.decode(predicted ? preview_decoder() : manifest_.vae_decoder, run.size, rows,
                   timings_[run.factor.name], use);
  for (const int candidate : failed)
    drop_failed(candidate);
  return recalls;
}

// Spends less on candidates that cannot win, as the selection says.
void Task::compare() {
  const auto maps = selection_->looks() ? measure_maps() : std::vector<MapRecall>{};
  for (const int candidate : selection_->seen(maps))
    end_candidate(candidate);
  if (selection_->done())
    choose();
  else
    begin_candidates();
}

// Books a candidate that goes no further, and keeps its latents for the case that it is chosen.
void Task::end_candidate(int candidate) {
  std::vector<RowBuffer> latents;
  for (const auto& trajectory : group_->trajectories(candidate)) {
    const auto& run = *trajectory->run;
    timings_[run.factor.name].add(trajectory->timings);
    if (!run.factor.is_image)
      result_.map_rows += run.rows(run.first, trajectory->step);
    rows_saved_ += run.rows(trajectory->step, run.end());
    latents.push_back(std::move(trajectory->latents));
  }
  if (const auto found = measured_.find(candidate); found != measured_.end())
    found->second.latents = std::move(latents);
  group_->end(candidate);
}

// Chooses among the candidates that were finished, and goes on with the next group.
void Task::choose() {
  const auto& run = measured_run();
  const int candidates = *request_.factors.at(run.factor.name).candidates;
  rows_saved_ += (candidates - selection_->begun()) * group_->rows(0, group_->num_steps());
  std::vector<MapRecall> finished;
  std::vector<int> places, indices;
  auto& result = result_.factors.at(run.factor.name);
  for (auto& [index, map] : measured_) {
    if (!map.candidate.pruned && !map.candidate.failed) {
      places.push_back(static_cast<int>(result.candidates.size()));
      indices.push_back(index);
      finished.push_back(map.recall);
    }
    result.candidates.push_back(std::move(map.candidate));
  }
  std::size_t best = 0;
  std::optional<std::vector<Pixels>> pictures;
  while (!pictures) {
    if (finished.empty())
      throw not_finite(run.factor, "the latents or the pictures of all maps are");
    best = select(finished);
    const int index = indices[best];
    pictures = joint_pictures(measured_.at(index).latents);
    if (pictures)
      continue;
    ++candidates_failed_;
    result.candidates[static_cast<std::size_t>(places[best])] =
        measuring_.failed(run.index, index, run.num_steps()).candidate;
    const auto at = static_cast<std::ptrdiff_t>(best);
    finished.erase(finished.begin() + at);
    places.erase(places.begin() + at);
    indices.erase(indices.begin() + at);
  }
  result.chosen = places[best];
  auto latents = std::move(measured_.at(indices[best]).latents);
  measured_.clear();
  for (std::size_t member = 0; member < group_->runs().size(); ++member)
    if (group_->runs()[member]->factor.is_image)
      paint(std::move((*pictures)[member]));
    else
      keep_map(member, indices[best], std::move(latents[member]), (*pictures)[member]);
  begin_group();
}

// What the decoder makes of a candidate's latents, a picture for each factor of the group but the
// measured one, whose map is known. Nothing if one isn't finite.
std::optional<std::vector<Pixels>> Task::joint_pictures(const std::vector<RowBuffer>& latents) {
  std::vector<Pixels> pictures(latents.size());
  for (std::size_t member = 0; member < latents.size(); ++member) {
    if (member == group_->measured())
      continue;
    const auto& run = *group_->runs()[member];
    auto made = decoding_.picture(manifest_.vae_decoder, run.size, latents[member],
                                  timings_[run.factor.name]);
    if (!made)
      return std::nullopt;
    pictures[member] = std::move(*made);
  }
  return pictures;
}

// Goes on with the chosen candidate's map of one of the group's factors.
void Task::keep_map(std::size_t member, int candidate, RowBuffer latents, const Pixels& picture) {
  const auto& run = *group_->runs()[member];
  auto& result = result_.factors.at(run.factor.name);
  if (result.candidates.empty()) {  // only those of the measured factor have been decoded
    const auto map = read_map(bundle_, run.factor, picture);
    result.candidates = {
        measuring_.map(run.index, candidate, run.num_steps(), map.labels, map.rgb).candidate};
    result.chosen = 0;
  }
  // The painted map is snapped: every pixel takes the nearest class, however far.
  auto map =
      read_map(bundle_, run.factor, result.candidates[static_cast<std::size_t>(result.chosen)].map);
  maps_.keep(
      {&run.factor, run.size, std::move(map.snapped), std::move(map.rgb), std::move(latents)});
}

// Takes the image, of which a mask may keep pixels.
void Task::paint(Pixels image) {
  result_.image = std::move(image);
  if (!request_.mask.data.empty())  // what stays, stays to the bit
    for (std::size_t pixel = 0; pixel < request_.mask.data.size(); ++pixel)
      if (request_.mask.data[pixel] == 0)
        std::copy_n(request_.image.data.begin() + static_cast<std::ptrdiff_t>(3 * pixel), 3,
                    result_.image.data.begin() + static_cast<std::ptrdiff_t>(3 * pixel));
}

Result Task::result() {
  finish(result_, *job_, bundle_, timings_, {began_, graphs_.total_seconds() - sessions_before_});
  return std::move(result_);
}

}  // namespace fgdm
