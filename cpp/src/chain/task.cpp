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

std::size_t pixels(const FactorSize& size) {
  return static_cast<std::size_t>(size.height) * static_cast<std::size_t>(size.width);
}

// The map steps after which candidates are compared.
std::vector<int> checkpoints(const Request& request, const FactorSpec& factor) {
  if (!request.prune.empty() || factor_stop_at_recall(request, factor) == 0.0)
    return request.prune;
  const int steps = factor_steps(request, factor);
  std::vector<int> found;
  for (const int tenths : {4, 6, 8})
    if (const int step = (steps * tenths + 5) / 10;
        step >= 1 && step < steps && (found.empty() || step > found.back()))
      found.push_back(step);
  return found;
}

}  // namespace

Task::Task(const Bundle& bundle, Graphs& graphs, ContextCache& contexts,
           std::shared_ptr<JobState> job, std::int64_t number, int decode_rows)
    : bundle_(bundle), manifest_(bundle.manifest()), graphs_(graphs), contexts_(contexts),
      job_(std::move(job)), request_(job_->request), number_(number), decode_rows_(decode_rows),
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
      run_->hints[i] = see_control_image(manifest_, network, run_->size, run_->scales[i],
                                         control_image(network), graphs_, timings_);
  next_candidate_ = 0;
  if (!factor.is_image)
    begin_objects(bundle_.palette(factor.palette), texts.factors.at(index));
  begin_wave();
}

void Task::begin_objects(const Palette& palette, const FactorTexts& texts) {
  requested_ = texts.requested;
  result_.requested = names_of(palette, requested_);
  result_.excluded = names_of(palette, texts.excluded);
  result_.unread = names_of(palette, texts.unread);
  result_.unrecognized = texts.unrecognized;
  result_.unrecognized_omitted = texts.unrecognized_omitted;
}

void Task::begin_wave() {
  const bool is_image = run_->factor.is_image;
  const int all = is_image ? 1 : request_.candidates;
  // Where nothing is asked for, every map has all of it.
  const bool first_wins =
      !is_image && requested_.empty() && factor_stop_at_recall(request_, run_->factor) > 0.0;
  const int wave = first_wins ? 1 : is_image || request_.wave == 0 ? all : request_.wave;
  const int end = std::min(all, next_candidate_ + wave);
  for (; next_candidate_ < end; ++next_candidate_)
    alive_.push_back(
        std::make_unique<Trajectory>(*run_, next_candidate_, initial_latents(next_candidate_)));
  checkpoints_ = is_image ? std::vector<int>{} : checkpoints(request_, run_->factor);
  next_checkpoint_ = 0;
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

// The step that candidates reach before they are compared or done.
int Task::barrier() const {
  return next_checkpoint_ < checkpoints_.size() ? checkpoints_[next_checkpoint_]
                                                : run_->num_steps();
}

std::vector<Trajectory*> Task::ready() const {
  std::vector<Trajectory*> found;
  if (run_)
    for (const auto& trajectory : alive_)
      if (trajectory->step < barrier())
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
      give_up(*trajectory);
  tell(sound);
  while (run_ && ready().empty()) {
    job_->check();
    if (barrier() < run_->num_steps())
      compare();
    else if (run_->factor.is_image)
      paint();
    else
      end_wave();
  }
}

// Goes on without a map whose latent, or the picture made of it, is not finite.
void Task::give_up(const Trajectory& spoiled) {
  ++candidates_failed_;
  const auto& size = run_->size;
  auto empty = measured(spoiled, std::vector<std::uint8_t>(pixels(size), unlabeled),
                        std::vector<std::uint8_t>(3 * pixels(size)));
  empty.candidate.failed = true;
  let_go(spoiled, std::move(empty));
  std::erase_if(alive_, [&](const auto& trajectory) { return trajectory.get() == &spoiled; });
}

BackendError Task::not_finite(const std::string& what) const {
  return BackendError("factor " + run_->factor.name + ", " + what + " not finite; " +
                      finer_precision(graphs_.precision()) + "a lower guidance scale may help");
}

const std::string& Task::preview_decoder() const {
  return manifest_.preview_decoder.empty() ? manifest_.vae_decoder : manifest_.preview_decoder;
}

// Tells the step callback, once for all candidates that are equally far.
void Task::tell(const std::vector<Trajectory*>& trajectories) {
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

// A few rows at a time where there is no memory for more.
void Task::decode(const std::string& decoder, const std::vector<const RowBuffer*>& latents,
                  const UsePictures& use) {
  for (std::size_t first = 0; first < latents.size();) {
    const auto count = std::min(static_cast<std::size_t>(decode_rows_), latents.size() - first);
    try {
      use(first, count, decoded(decoder, std::span(latents).subspan(first, count)));
      first += count;
    } catch (const OutOfMemoryError&) {
      if (count == 1)
        throw;
      decode_rows_ = static_cast<int>(count / 2);
    }
  }
}

RowBuffer Task::decoded(const std::string& decoder, std::span<const RowBuffer* const> latents) {
  const auto& size = run_->size;
  const auto& device = graphs_.device();
  auto rows = latent_buffer(device, manifest_, size, latents.size());
  for (std::size_t row = 0; row < latents.size(); ++row)
    rows.copy_row(*latents[row], 0, row);
  RowBuffer pictures(device, DType::float32, {3, size.height, size.width}, latents.size());
  const NamedTensor input{"latents", rows.view(latents.size())};
  const NamedTensor output{"image", pictures.view(latents.size())};
  timings_.add(decoder, graphs_.run(decoder, decoder, {&input, 1}, {&output, 1}));
  return pictures;
}

Pixels Task::picture(const std::string& decoder, const RowBuffer& latents) {
  const auto& size = run_->size;
  Pixels made{size.height, size.width, std::vector<std::uint8_t>(3 * pixels(size))};
  decode(decoder, {&latents}, [&](std::size_t, std::size_t, const RowBuffer& pictures) {
    const auto values = pictures.floats(1);
    if (!all_finite(values))
      throw not_finite("the picture that " + decoder + " made is");
    image_to_rgb(values, size.height, size.width, made.data);
  });
  return made;
}

// Decodes and measures what is alive: its latents, or its predicted x0. Gives up what can't be
// measured.
auto Task::judge(const std::string& decoder, bool predicted) -> std::vector<Judged> {
  const auto& palette = bundle_.palette(run_->factor.palette);
  const auto& size = run_->size;
  const auto count = pixels(size);
  std::vector<const RowBuffer*> rows;
  for (const auto& trajectory : alive_)
    rows.push_back(predicted ? &trajectory->predicted_x0 : &trajectory->latents);
  std::vector<Judged> found;
  std::vector<const Trajectory*> spoiled;
  decode(decoder, rows, [&](std::size_t first, std::size_t maps, const RowBuffer& pictures) {
    const auto made =
        graphs_.device()->label(palette, pictures.data(), maps, size.height, size.width);
    const bool all_sound = pictures.is_finite(maps);
    for (std::size_t map = 0; map < maps; ++map) {
      const auto& trajectory = *alive_[first + map];
      if (!all_sound && !pictures.is_finite(1, map)) {
        spoiled.push_back(&trajectory);
        continue;
      }
      const auto labels = std::span(made.labels).subspan(map * count, count);
      std::vector<std::uint8_t> rgb(3 * count);
      render_labels(palette, std::span(made.snapped).subspan(map * count, count), rgb);
      found.push_back(measured(trajectory, {labels.begin(), labels.end()}, std::move(rgb)));
      found.back().candidate.pruned = predicted;
    }
  });
  for (const auto* trajectory : spoiled)
    give_up(*trajectory);
  return found;
}

// What a candidate's labels hold, and their colours.
auto Task::measured(const Trajectory& trajectory, std::vector<std::uint8_t> labels,
                    std::vector<std::uint8_t> rgb) const -> Judged {
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

bool Task::has_won(const MapRecall& map) const {
  const double enough = factor_stop_at_recall(request_, run_->factor);
  return enough > 0.0 && map.recall >= enough;
}

// Spends less on candidates that cannot win: at every step of `prune` only the better half goes on,
// and while one that seems to have won is finished, the others are set aside.
void Task::compare() {
  ++next_checkpoint_;
  if (alive_.size() <= 1)
    return;
  auto judged = judge(preview_decoder(), true);
  if (judged.empty())
    return;
  std::vector<MapRecall> recalls;
  for (const auto& seen : judged)
    recalls.push_back(seen.recall);
  const auto best = select(recalls);
  const bool won = has_won(recalls[best]);
  std::vector<bool> stays(alive_.size(), request_.prune.empty());
  if (!request_.prune.empty())
    for (const auto i : better_half(recalls))
      stays[i] = true;
  auto trajectories = std::exchange(alive_, {});
  for (std::size_t i = 0; i < trajectories.size(); ++i)
    if (!stays[i])
      let_go(*trajectories[i], std::move(judged[i]));
    else if (won && i != best)
      aside_.push_back({std::move(trajectories[i]), std::move(judged[i])});
    else
      alive_.push_back(std::move(trajectories[i]));
  resume_at_ = next_checkpoint_;
  if (won)
    next_checkpoint_ = checkpoints_.size();
}

// Books a candidate that goes no further.
void Task::let_go(const Trajectory& trajectory, Judged judged) {
  timings_.add(trajectory.timings);
  result_.map_rows += run_->rows(0, trajectory.step);
  rows_saved_ += run_->rows(trajectory.step, run_->num_steps());
  judged_.push_back(std::move(judged));
}

// Measures maps that are finished. If none of them has won, those that were set aside go on, and
// then the next wave.
void Task::end_wave() {
  auto judged = judge(manifest_.vae_decoder, false);
  bool won = false;
  for (std::size_t i = 0; i < alive_.size(); ++i) {
    won = won || has_won(judged[i].recall);
    let_go(*alive_[i], std::move(judged[i]));
  }
  alive_.clear();
  auto aside = std::exchange(aside_, {});
  if (won)
    for (auto& [trajectory, seen] : aside)
      let_go(*trajectory, std::move(seen));
  else
    for (auto& waiting : aside)
      alive_.push_back(std::move(waiting.trajectory));
  if (!alive_.empty())
    next_checkpoint_ = resume_at_;
  else if (won || next_candidate_ == request_.candidates)
    end_maps();
  else
    begin_wave();
}

// Chooses among the maps that were finished, and goes on with the next factor.
void Task::end_maps() {
  rows_saved_ += (request_.candidates - next_candidate_) * run_->rows(0, run_->num_steps());
  std::ranges::sort(judged_, {}, [](const Judged& map) { return map.candidate.index; });
  std::vector<MapRecall> finished;
  std::vector<int> places;
  result_.candidates.clear();
  for (auto& [candidate, recall] : std::exchange(judged_, {})) {
    if (!candidate.pruned && !candidate.failed) {
      places.push_back(static_cast<int>(result_.candidates.size()));
      finished.push_back(std::move(recall));
    }
    result_.candidates.push_back(std::move(candidate));
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
  result_.image = picture(manifest_.vae_decoder, alive_.front()->latents);
  timings_.add(alive_.front()->timings);
  alive_.clear();
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
