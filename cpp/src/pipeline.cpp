#include "pipeline.hpp"

#include <algorithm>
#include <chrono>

#include "factor_loop.hpp"
#include "fgdm/error.hpp"
#include "fgdm/noise.hpp"
#include "fgdm/objects.hpp"

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

}  // namespace

Pipeline::Pipeline(const Bundle& bundle, Graphs& graphs, int max_batch_rows,
                   const Request& resolved, StepCallback callback, std::function<void()> check)
    : bundle_(bundle), manifest_(bundle.manifest()), graphs_(graphs),
      max_batch_rows_(max_batch_rows), request_(resolved), callback_(std::move(callback)),
      check_(std::move(check)) {}

Result Pipeline::run() {
  const auto begin = std::chrono::steady_clock::now();
  result_.seed = *request_.seed;
  for (std::uint32_t index = 0; index < manifest_.factors.size(); ++index) {
    const auto& factor = manifest_.factors[index];
    check_();
    encode_texts(factor);
    if (!factor.is_image) {
      sample_maps(factor, index);
      continue;
    }
    const auto latents = denoise(factor, index, 1);
    const auto size = factor_size(request_, manifest_, factor);
    result_.image = std::move(decode(manifest_.vae_decoder, latents, 1, size).front());
  }
  const auto elapsed = std::chrono::steady_clock::now() - begin;
  const double total = std::chrono::duration<double>(elapsed).count();
  result_.timings = timings_.seconds();
  result_.timings["core"] = total - timings_.total();
  result_.timings["total"] = total;
  result_.request = std::move(request_);
  return std::move(result_);
}

void Pipeline::encode_texts(const FactorSpec& factor) {
  auto ids = bundle_.tokenizer().encode(request_.negative_prompt);
  const auto positive =
      bundle_.tokenizer().encode(factor.prompt_prefix + request_.prompt + factor.prompt_suffix);
  ids.insert(ids.end(), positive.begin(), positive.end());
  contexts_ =
      RowBuffer(manifest_.context_dtype(), {manifest_.max_length, manifest_.hidden_size}, 2);
  const NamedTensor input{"input_ids", {DType::int64, {2, manifest_.max_length}, ids.data()}};
  const NamedTensor output{"encoder_hidden_states", contexts_.view(2)};
  graphs_.run(manifest_.text_encoder, "text_encoder", {&input, 1}, {&output, 1}, timings_);
}

std::vector<float> Pipeline::initial_latents(const FactorSpec& factor, std::uint32_t factor_index,
                                             int candidates) const {
  const auto& given = factor.is_image ? request_.latents : request_.condition_latents;
  if (!given.empty())
    return given;
  const auto size = factor_size(request_, manifest_, factor);
  const auto elements = static_cast<std::size_t>(manifest_.latent_channels) *
                        static_cast<std::size_t>(size.latent_height) *
                        static_cast<std::size_t>(size.latent_width);
  std::vector<float> latents(static_cast<std::size_t>(candidates) * elements);
  for (std::size_t row = 0; row < static_cast<std::size_t>(candidates); ++row)
    normal_noise(*request_.seed, static_cast<std::uint32_t>(row), factor_index,
                 std::span(latents).subspan(row * elements, elements));
  return latents;
}

std::vector<float> Pipeline::denoise(const FactorSpec& factor, std::uint32_t factor_index,
                                     int candidates) {
  auto latents = initial_latents(factor, factor_index, candidates);
  const auto elements = latents.size() / static_cast<std::size_t>(candidates);
  const auto size = factor_size(request_, manifest_, factor);
  const int group = std::max(1, max_batch_rows_ / 2);
  for (int first = 0; first < candidates; first += group) {
    const int count = std::min(group, candidates - first);
    FactorLoop loop(manifest_, factor, request_, count, contexts_, graphs_);
    for (auto& network : loop.networks())
      if (network.spec().sees_image())
        network.see(control_image(factor, network.spec()), timings_);
    const auto rows = std::span(latents).subspan(static_cast<std::size_t>(first) * elements,
                                                 static_cast<std::size_t>(count) * elements);
    loop.run(rows, first, [&](const StepInfo& info) { step_done(info, size); }, timings_);
  }
  return latents;
}

void Pipeline::step_done(StepInfo info, const FactorSize& size) {
  check_();
  if (!callback_)
    return;
  info.preview = [&](int row) {
    if (row < 0 || row >= info.rows)
      throw RequestError("preview of row " + std::to_string(row) + ", expected 0 to " +
                         std::to_string(info.rows - 1));
    const auto elements = info.predicted_x0.size() / static_cast<std::size_t>(info.rows);
    const auto latents =
        info.predicted_x0.subspan(static_cast<std::size_t>(row) * elements, elements);
    const auto& decoder =
        manifest_.preview_decoder.empty() ? manifest_.vae_decoder : manifest_.preview_decoder;
    return std::move(decode(decoder, latents, 1, size).front());
  };
  if (callback_(info))
    throw CancelledError("the step callback stopped the request after step " +
                         std::to_string(info.step + 1) + " of factor " + info.factor);
}

std::vector<Pixels> Pipeline::decode(const std::string& decoder, std::span<const float> latents,
                                     int rows, const FactorSize& size) {
  const auto elements = latents.size() / static_cast<std::size_t>(rows);
  const auto planes = 3 * pixels(size);
  std::vector<Pixels> pictures;
  const int group = std::max(1, max_batch_rows_ / 2);
  for (int first = 0; first < rows; first += group) {
    check_();
    const int count = std::min(group, rows - first);
    std::vector<float> part(latents.begin() + static_cast<std::ptrdiff_t>(elements) * first,
                            latents.begin() +
                                static_cast<std::ptrdiff_t>(elements) * (first + count));
    std::vector<float> decoded(planes * static_cast<std::size_t>(count));
    const NamedTensor input{
        "latents",
        {DType::float32,
         {count, manifest_.latent_channels, size.latent_height, size.latent_width},
         part.data()}};
    const NamedTensor output{"image",
                             {DType::float32, {count, 3, size.height, size.width}, decoded.data()}};
    graphs_.run(decoder, decoder, {&input, 1}, {&output, 1}, timings_);
    for (std::size_t row = 0; row < static_cast<std::size_t>(count); ++row) {
      Pixels picture{size.height, size.width, std::vector<std::uint8_t>(planes)};
      image_to_rgb(std::span(decoded).subspan(row * planes, planes), size.height, size.width,
                   picture.data);
      pictures.push_back(std::move(picture));
    }
  }
  return pictures;
}

void Pipeline::sample_maps(const FactorSpec& factor, std::uint32_t factor_index) {
  const auto& palette = bundle_.palette(factor.palette);
  if (request_.objects) {
    requested_ = resolve_objects(palette, *request_.objects);
  } else {
    auto objects = find_objects(palette, request_.prompt);
    requested_ = std::move(objects.requested);
    result_.unrecognized = std::move(objects.unrecognized);
  }
  result_.requested = names_of(palette, requested_);

  const auto latents = denoise(factor, factor_index, request_.candidates);
  const auto size = factor_size(request_, manifest_, factor);
  const auto pictures = decode(manifest_.vae_decoder, latents, request_.candidates, size);
  recalls_.clear();
  result_.candidates.clear();
  for (std::size_t i = 0; i < pictures.size(); ++i)
    measure_map(palette, pictures[i], static_cast<int>(i));
  result_.chosen = static_cast<int>(select(recalls_));
  // The painted map is snapped: every pixel takes the nearest class, however far.
  ChosenMap& chosen = chosen_[factor.name];
  chosen = {&palette, size, std::vector<std::uint8_t>(pixels(size))};
  decode_labels(palette, pictures[static_cast<std::size_t>(result_.chosen)].data, chosen.labels,
                255);
}

void Pipeline::measure_map(const Palette& palette, const Pixels& picture, int index) {
  const auto count = picture.data.size() / 3;
  Pixels labels{picture.height, picture.width, std::vector<std::uint8_t>(count)};
  Pixels snapped{picture.height, picture.width, std::vector<std::uint8_t>(3 * count)};
  decode_labels(palette, picture.data, labels.data, 255);
  render_labels(palette, labels.data, snapped.data);
  decode_labels(palette, picture.data, labels.data);
  recalls_.push_back(measure(labels.data, requested_, request_.min_area));
  const auto& recall = recalls_.back();
  result_.candidates.push_back({index, recall.recall, names_of(palette, recall.found),
                                names_of(palette, recall.missing), recall.smallest_area,
                                std::move(snapped), std::move(labels)});
}

std::vector<float> Pipeline::control_image(const FactorSpec& factor,
                                           const ConditioningSpec& network) const {
  const auto size = factor_size(request_, manifest_, factor);
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

}  // namespace fgdm
