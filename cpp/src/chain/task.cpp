#include "task.hpp"

#include <algorithm>
#include <set>
#include <span>
#include <utility>

#include "callbacks.hpp"
#include "editing.hpp"
#include "factor_options.hpp"
#include "precision.hpp"
#include "read_map.hpp"
#include "start_picture.hpp"
#include "wording.hpp"

namespace fgdm {

Task::Task(const Bundle& bundle, Graphs& graphs, EmbeddingCache& embeddings,
           std::shared_ptr<JobState> job, std::int64_t number)
    : bundle_(bundle), manifest_(bundle.manifest()), graphs_(graphs), cache_(embeddings),
      job_(std::move(job)), request_(job_->request), number_(number),
      groups_(factor_groups(request_, manifest_)), maps_(bundle, graphs),
      begin_(manifest_, graphs, *job_, maps_, timings_), joint_hints_(bundle, graphs, maps_),
      measuring_(bundle, request_, job_->texts), result_(begun_result(*job_)),
      painting_(manifest_, request_, graphs, result_), sessions_before_(graphs.total_seconds()) {}

void Task::begin() {
  encode_texts();
  for (std::uint32_t index = 0; index < manifest_.factors.size(); ++index)
    if (is_given(request_, manifest_.factors[index]))
      take_given(index);
  begin_group();
}

// The texts of all factors at once, so that a chain of many costs one call of the text encoder.
void Task::encode_texts() {
  std::vector<EmbeddingCache::Wanted> wanted;
  std::vector<std::uint32_t> factors;
  for (const auto& group : groups_)
    for (const auto index : group) {
      const auto& texts = job_->texts.factors.at(index);
      const auto& factor = manifest_.factors[index];
      auto& timings = timings_[factor.name];
      const auto loras = factor_loras(request_, manifest_, factor);
      wanted.insert(wanted.end(),
                    {{&texts.prompt, &timings, loras}, {&texts.negative_prompt, &timings, loras}});
      factors.push_back(index);
    }
  const auto edits_begin = static_cast<std::ptrdiff_t>(wanted.size());
  for (const auto index : factors)
    for (const auto& edit : job_->texts.factors.at(index).edits)
      wanted.push_back({&edit.prompt, &timings_[manifest_.factors[index].name]});
  const auto found = cache_.get(wanted);
  for (std::size_t i = 0; i < factors.size(); ++i)
    embeddings_[factors[i]] = {found[2 * i], found[2 * i + 1]};
  edits_.assign(found.begin() + edits_begin, found.end());
}

// Measures a map that was given as if it had been sampled.
void Task::take_given(std::uint32_t index) {
  const auto& factor = manifest_.factors[index];
  const auto& map = job_->maps.at(factor.name);
  auto& result = result_.factors[factor.name] = begun_result(*job_, bundle_, index);
  result.given = true;
  result.candidates = {measuring_.map(index, 0, 0, map.labels, map.snapped, map.rgb).candidate};
  result.chosen = 0;
  Measuring::check_allowed(factor, result.candidates.front());
  call_map_callback(*job_, factor, result.candidates.front(), 0, true);
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
    const auto& [positive, negative] = embeddings_.at(index);
    runs.push_back(begin_.run(index, group, positive, negative));
    if (runs.back()->editing != nullptr)
      runs.back()->edits =
          edit_rows(*runs.back(), job_->texts.factors.at(index), edits_, *job_, bundle_, maps_);
    const auto& factor = manifest_.factors[index];
    if (!factor.is_image)
      result_.factors[factor.name] = begun_result(*job_, bundle_, index);
  }
  group_.emplace(std::move(runs));
  selection_.emplace(rules());
  begin_candidates();
}

SelectionRules Task::rules() const {
  const auto& run = measured_run();
  if (group_->is_image() || run.editing != nullptr)
    return {1, run.num_steps(), {}, 0.0, 0};
  const auto& options = request_.factors.at(run.factor.name);
  if (!run.factor.makes_labels())
    return {*options.candidates, run.num_steps(), {}, 0.0, 0};
  const bool by_recall = request_.select != SelectBy::compliance;
  const double enough = share_that_wins(request_, options);
  // Where nothing is asked for, every map has all of it.
  const auto& required = job_->texts.factors.at(run.index).required;
  const bool is_asked = !required.present.empty() || (!by_recall && !required.absent.empty());
  const int wave = !is_asked && enough > 0.0 ? 1 : *options.wave;
  return {*options.candidates,     run.num_steps(), *options.prune, by_recall ? enough : 0.0, wave,
          by_recall ? 0.0 : enough};
}

void Task::begin_candidates() {
  for (const int candidate : selection_->sampling()) {
    if (group_->has_begun(candidate))
      continue;
    std::vector<RowBuffer> latents;
    for (const auto& run : group_->runs())
      latents.push_back(begin_.latents(*run, candidate));
    group_->begin(candidate, std::move(latents));
  }
}

std::vector<Trajectory*> Task::ready() const {
  std::vector<Trajectory*> found;
  if (group_)
    for (const int candidate : selection_->sampling())
      if (group_->has_begun(candidate)  // not where there was no memory to begin it
          && std::ranges::find(decodes_, candidate, &Decode::candidate) == decodes_.end())
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
    if (trajectory->run->keeps_unedited())
      keep_unedited(*trajectory);
    if (trajectory->run->goes_back())
      remember_visited(*trajectory);
    if (trajectory->run->inverts() && trajectory->step == trajectory->run->end())
      result_.inversion = found_inversion(*trajectory, *job_, bundle_);
    sound.push_back(trajectory);
  }
  call_step_callback(*job_, manifest_, sound,
                     [this](const Trajectory& trajectory) { return preview(trajectory); });
  renew_hints(sound);
  go_on();
}

void Task::decoded(Decode& decode, const RowBuffer& pictures, std::size_t row, double seconds) {
  job_->check();
  timings_[decode.run->factor.name].add(*decode.decoder, seconds);
  const auto use = std::move(decode.use);
  decodes_.remove_if([&](const Decode& one) { return &one == &decode; });
  use(pictures, row);
  go_on();
}

// Does what needs no batch, until something waits for one again.
void Task::go_on() {
  while (group_ && decodes_.empty() && ready().empty()) {
    job_->check();
    if (then_)
      std::exchange(then_, nullptr)();
    else if (group_->is_image())
      finish_image();
    else
      look();
  }
}

// Lets joint factors' networks see the maps of others as they are now, where that is due. Their
// candidates wait for it.
void Task::renew_hints(const std::vector<Trajectory*>& trajectories) {
  if (!request_.joint_refresh)
    return;
  for (const auto* trajectory : JointHints::due(*group_, trajectories, *request_.joint_refresh))
    decodes_.push_back({trajectory->run, trajectory->candidate, &preview_decoder(),
                        &trajectory->predicted_x0,
                        [this, trajectory](const RowBuffer& pictures, std::size_t row) {
                          if (const auto picture = rgb_of(pictures, row, trajectory->run->size))
                            joint_hints_.show(*trajectory, *picture, *group_, timings_);
                          else
                            drop_failed(trajectory->candidate);
                        }});
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

BackendError Task::not_finite_picture(const FactorSpec& factor, const std::string& decoder) const {
  return not_finite(factor, "the picture that " + decoder + " made is");
}

const std::string& Task::preview_decoder() const {
  return manifest_.preview_decoder.empty() ? manifest_.vae_decoder : manifest_.preview_decoder;
}

Pixels Task::preview(const Trajectory& trajectory) {
  const auto& run = *trajectory.run;
  const auto& decoder = preview_decoder();
  const auto* latents = &trajectory.predicted_x0;
  const auto pictures =
      decode(manifest_, graphs_, decoder, run.size, {&latents, 1}, timings_[run.factor.name]);
  auto picture = rgb_of(pictures, 0, run.size);
  if (!picture)
    throw not_finite_picture(run.factor, decoder);
  return std::move(*picture);
}

// Has what is sampled decoded and measured, where the selection looks: predicted x0 before the last
// step, then the map.
void Task::look() {
  const bool looks = selection_->looks(), predicted = !selection_->at_end();
  if (looks)
    for (const int candidate : selection_->sampling()) {
      const auto* seen = group_->trajectories(candidate)[group_->measured()].get();
      decodes_.push_back({seen->run, candidate,
                          predicted ? &preview_decoder() : &manifest_.vae_decoder,
                          predicted ? &seen->predicted_x0 : &seen->latents,
                          [this, seen, predicted](const RowBuffer& pictures, std::size_t row) {
                            measure(*seen, predicted, pictures, row);
                          }});
    }
  then_ = [this, looks] { compare(looks); };
}

// Measures a candidate's map. Drops it if that can't be done.
void Task::measure(const Trajectory& trajectory, bool predicted, const RowBuffer& pictures,
                   std::size_t row) {
  auto found = measuring_.picture(pictures, row, trajectory, *graphs_.device());
  if (!found) {
    drop_failed(trajectory.candidate);
    return;
  }
  found->candidate.pruned = predicted;
  const auto& run = *trajectory.run;
  call_map_callback(*job_, run.factor, found->candidate, run.num_steps(), false);
  measured_.insert_or_assign(trajectory.candidate, std::move(*found));
}

// Spends less on candidates that cannot win, as the selection says.
void Task::compare(bool looked) {
  std::vector<MapRecall> maps;
  if (looked)
    for (const int candidate : selection_->sampling())
      maps.push_back(measured_.at(candidate).recall);
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

// Chooses among the candidates that were finished, and has the pictures of the group's other
// factors decoded; the measured one's map is known.
void Task::choose() {
  std::vector<MapRecall> finished;
  std::vector<const Candidate*> maps;
  std::vector<int> candidates;
  std::set<std::string> refused;
  for (const auto& [candidate, map] : measured_) {
    if (map.candidate.pruned || map.candidate.failed)
      continue;
    if (!map.candidate.refused.empty()) {
      refused.insert(map.candidate.refused);
    } else {
      finished.push_back(map.recall);
      maps.push_back(&map.candidate);
      candidates.push_back(candidate);
    }
  }
  const auto& measured = measured_run();
  if (finished.empty() && !refused.empty())
    throw RequestError(
        "every finished map of factor " + measured.factor.name +
        " holds what must not be painted: " + joined({refused.begin(), refused.end()}, ", ") +
        "; no image was painted: ask for something else, for more candidates, or "
        "with another seed");
  if (finished.empty())
    throw not_finite(measured.factor, "the latents or the pictures of all maps are");
  const bool is_asked = request_.select == SelectBy::callback && measured.factor.makes_labels();
  const int chosen =
      candidates[is_asked ? call_select_callback(*job_, measured.factor, maps) : select(finished)];
  pictures_.assign(group_->runs().size(), std::nullopt);
  for (std::size_t member = 0; member < pictures_.size(); ++member)
    if (const auto* run = group_->runs()[member].get(); run != &measured)
      decodes_.push_back({run, chosen, &manifest_.vae_decoder,
                          &measured_.at(chosen).latents[member],
                          [this, run, member](const RowBuffer& pictures, std::size_t row) {
                            if (!run->factor.is_image)
                              pictures_[member] = rgb_of(pictures, row, run->size);
                            else if (painting_.take(*run, nullptr, pictures, row))
                              pictures_[member].emplace();
                          }});
  then_ = [this, chosen] { keep(chosen); };
}

// Goes on with the next group, or chooses again if a picture of the chosen candidate is missing.
void Task::keep(int candidate) {
  const auto& run = measured_run();
  for (std::size_t member = 0; member < pictures_.size(); ++member)
    if (!pictures_[member] && member != group_->measured()) {
      ++candidates_failed_;
      measured_.insert_or_assign(candidate,
                                 measuring_.failed(run.index, candidate, run.num_steps()));
      choose();
      return;
    }
  rows_saved_ += (*request_.factors.at(run.factor.name).candidates - selection_->begun()) *
                 group_->rows(0, group_->num_steps());
  auto latents = std::move(measured_.at(candidate).latents);
  auto& result = result_.factors.at(run.factor.name);
  for (auto& [index, map] : measured_) {
    if (index == candidate)
      result.chosen = static_cast<int>(result.candidates.size());
    result.candidates.push_back(std::move(map.candidate));
  }
  measured_.clear();
  for (std::size_t member = 0; member < latents.size(); ++member)
    if (group_->runs()[member]->factor.is_image)
      painting_.take_latents(*group_->runs()[member], std::move(latents[member]));
    else
      keep_map(member, candidate, std::move(latents[member]));
  begin_group();
}

// Goes on with the chosen candidate's map of one of the group's factors.
void Task::keep_map(std::size_t member, int candidate, RowBuffer latents) {
  const auto& run = *group_->runs()[member];
  auto& result = result_.factors.at(run.factor.name);
  if (member != group_->measured()) {
    const auto map = read_map(bundle_, run.factor, *pictures_[member]);
    result.candidates = {
        measuring_.map(run.index, candidate, run.num_steps(), map.labels, map.snapped, map.rgb)
            .candidate};
    result.chosen = 0;
    Measuring::check_allowed(run.factor, result.candidates.front());
  }
  const auto& chosen = result.candidates[static_cast<std::size_t>(result.chosen)];
  call_map_callback(*job_, run.factor, chosen, run.num_steps(), true);
  // The painted map is snapped: every pixel takes the nearest class, however far.
  auto map = read_map(bundle_, run.factor, chosen.map);
  maps_.keep(
      {&run.factor, run.size, std::move(map.snapped), std::move(map.rgb), std::move(latents)});
}

// Has the image decoded.
void Task::finish_image() {
  auto* image = group_->trajectories(0).front().get();
  decodes_.push_back({image->run, 0, &manifest_.vae_decoder, &image->latents,
                      [this, image](const RowBuffer& pictures, std::size_t row) {
                        if (!painting_.take(*image->run, image, pictures, row))
                          throw not_finite_picture(image->run->factor, manifest_.vae_decoder);
                      }});
  then_ = [this, image] {
    timings_[image->run->factor.name].add(image->timings);
    painting_.take_latents(*image->run, std::move(image->latents));
    begin_group();
  };
}

Result Task::result() {
  finish(result_, *job_, bundle_, timings_, {began_, graphs_.total_seconds() - sessions_before_});
  return std::move(result_);
}

}  // namespace fgdm
