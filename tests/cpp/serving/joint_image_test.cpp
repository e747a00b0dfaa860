// The image within a joint group, over fake graphs: every candidate has one of its own, which sees
// the candidate's maps by an adapter after every step, and by a ControlNet every few steps.
#include <limits>
#include <set>

#include "chain_bundle.hpp"
#include "fgdm/error.hpp"
#include "fgdm/noise.hpp"
#include "fgdm/palette.hpp"
#include "recorded.hpp"
#include "resize.hpp"
#include "runtime_fixture.hpp"
#include "scheduler_fixture.hpp"

namespace fgdm::joint_image_test {
namespace {

using testing::alone;
using testing::chain_bundle;
using testing::expect_equal;
using testing::expect_words;
using testing::fake_graphs;
using testing::numbers_of;
using testing::refusal;
using testing::rows_of;
using testing::small_request;
using testing::submit;
using testing::wait_for;

constexpr int steps = 4;
using Rows = std::vector<std::vector<float>>;

// segmentation -> depth, which sees it -> image, whose ControlNet sees the segmentation.
const Bundle& by_controlnet() {
  static const auto bundle = chain_bundle({{"depth", {"segmentation"}}});
  return bundle;
}

// The same, whose image sees both latents by an adapter.
const Bundle& by_adapter() {
  static const auto bundle =
      chain_bundle({{"depth", {"segmentation"}}}, true, {"segmentation", "depth"});
  return bundle;
}

Request joint_request(std::uint64_t seed, int candidates = 3) {
  auto request = small_request(seed, candidates);
  request.joint = {"segmentation", "depth", "image"};
  return request;
}

// Runs a request alone and records what the graphs saw, by input, and made, by output.
class Recorded {
public:
  Recorded(Request request, const Bundle& bundle) {
    auto graphs =
        fake_graphs(bundle.manifest(), [this](const std::string& graph, auto inputs, auto outputs) {
          if (inputs.front().tensor.dtype != DType::float32)
            return;
          auto& call = calls[graph].emplace_back();
          for (const auto& tensors : {inputs, outputs})
            for (const auto& [name, tensor] : tensors)
              if (tensor.dtype == DType::float32)
                call.emplace(name, rows_of(tensor));
        });
    Scheduler scheduler(bundle, graphs, {}, {});
    const auto watch = [this](const StepInfo& info) {
      const auto size = info.predicted_x0.size() / info.candidates.size();
      for (std::size_t i = 0; i < info.candidates.size(); ++i) {
        const auto part = info.predicted_x0.subspan(i * size, size);
        clean[{info.factor, info.step}][info.candidates[i]] = {part.begin(), part.end()};
      }
      return false;
    };
    const auto job = submit(scheduler, std::move(request), watch, bundle);
    EXPECT_TRUE(wait_for(*job));
    if (job->error)
      std::rethrow_exception(job->error);
    result = job->result;
    metrics = scheduler.metrics();
  }

  // An input or output of every call of a graph.
  std::vector<Rows> of(const std::string& graph, const std::string& tensor) const {
    std::vector<Rows> found;
    if (const auto all = calls.find(graph); all != calls.end())
      for (const auto& call : all->second)
        found.push_back(call.at(tensor));
    return found;
  }

  std::map<std::string, std::vector<std::map<std::string, Rows>>> calls;
  std::map<std::pair<std::string, int>, std::map<int, std::vector<float>>> clean;
  Result result;
  Metrics metrics;
};

std::vector<float> enlarged(const std::vector<float>& latents) {
  std::vector<float> larger(4 * 16 * 16);
  resize_bilinear(latents, 8, 8, larger, 16, 16);
  return larger;
}

// FG-DM, equation 6: the image's step follows those of all maps, and sees what they have become, at
// its own size. What a map's latents are after a step, the next step of its own adapter sees.
TEST(JointImage, AnAdapterSeesEveryMapAfterEveryStep) {
  const Recorded run(joint_request(1), by_adapter());
  const auto maps = run.of("adapter_segmentation", "sample");
  const auto depth_sees = run.of("adapter_depth", "sample");
  const auto image_sees = run.of("adapter_image", "sample");
  ASSERT_EQ(image_sees.size(), steps);
  constexpr auto half = 4 * 16 * 16;
  for (std::size_t step = 0; step < steps; ++step) {
    ASSERT_EQ(image_sees[step].size(), 3U);  // an image for each candidate
    for (std::size_t candidate = 0; candidate < 3; ++candidate) {
      const auto& both = image_sees[step][candidate];
      ASSERT_EQ(both.size(), 2U * half);
      const std::vector<float> segmentation(both.begin(), both.begin() + half);
      EXPECT_EQ(segmentation, enlarged(depth_sees[step][candidate]));
      if (step + 1 < steps) {
        EXPECT_EQ(segmentation, enlarged(maps[step + 1][candidate]));
      }
    }
  }
  // The depth maps' last latents are decoded with the chosen candidate.
  const auto chosen = static_cast<std::size_t>(run.result.chosen);
  const auto decoded = run.of("vae_decoder", "latents");
  ASSERT_EQ(decoded.size(), 3U);  // the measured maps, the chosen depth map, the chosen image
  const auto& last = image_sees.back()[chosen];
  EXPECT_EQ(std::vector<float>(last.begin() + half, last.end()), enlarged(decoded[1].at(0)));
}

// The image's noise is the candidate's own; candidate 0's is that of an image that isn't joint.
TEST(JointImage, TheChosenCandidatesImageIsTheResult) {
  const Recorded run(joint_request(2), by_adapter());
  const auto chosen = run.result.chosen;
  Rows samples;
  for (const auto& call : run.calls.at(by_adapter().manifest().backbone))
    if (call.at("sample").front().size() == 4U * 16 * 16) {
      samples = call.at("sample");
      break;
    }
  ASSERT_EQ(samples.size(), 6U);
  for (std::uint32_t candidate = 0; candidate < 3; ++candidate) {
    std::vector<float> noise(4 * 16 * 16);
    normal_noise(2, candidate, 2, noise);
    EXPECT_EQ(samples[candidate], noise);
  }
  const auto images = run.of("vae_decoder", "image");
  std::vector<std::uint8_t> rgb(3 * 64 * 64);
  image_to_rgb(images.back().at(0), 64, 64, rgb);
  EXPECT_EQ(run.result.image.data, rgb);
  EXPECT_EQ(run.result.factors.at("depth").candidates.at(0).index, chosen);
  EXPECT_EQ(run.result.map_rows, 2 * steps * (3 + 3));  // without the images'
  EXPECT_EQ(run.metrics.rows, 2 * steps * (3 + 3 + 3));
}

TEST(JointImage, LatentsAreOneForEachCandidate) {
  auto request = joint_request(2, 2);
  const auto expected = alone(request, by_adapter());
  for (std::uint32_t candidate = 0; candidate < 2; ++candidate) {
    std::vector<float> noise(4 * 16 * 16);
    normal_noise(2, candidate, 2, noise);
    request.latents.insert(request.latents.end(), noise.begin(), noise.end());
  }
  expect_equal(alone(request, by_adapter()), expected);
  request.latents.resize(4 * 16 * 16);
  EXPECT_THROW(resolve(request, by_adapter().manifest()), RequestError);
}

// A ControlNet sees the map that the predicted x0 of the step before it shows, from the first step
// on, and the same one until it is renewed.
TEST(JointImage, AControlNetSeesThePredictedMapEveryFewSteps) {
  auto request = joint_request(3);
  request.joint_refresh = 3;
  const Recorded run(request, by_controlnet());
  const auto seen = run.of("controlnet_segmentation_hint", "controlnet_cond");
  const auto& features =
      by_controlnet().manifest().graph("controlnet_segmentation_hint").outputs.front().name;
  const auto hints = run.of("controlnet_segmentation_hint", features);
  const auto steps_of_image = run.of("controlnet_segmentation", "hint");
  ASSERT_EQ(seen.size(), 2U * 3);  // before steps 0 and 3, for three candidates
  ASSERT_EQ(steps_of_image.size(), steps);
  const auto& palette = by_controlnet().palette("palette.json");
  for (std::size_t renewal = 0; renewal < 2; ++renewal) {
    const auto& clean = run.clean.at({"segmentation", 3 * static_cast<int>(renewal)});
    // The decoder's picture of that predicted x0, in the palette's nearest colours, twice as large.
    for (std::size_t candidate = 0; candidate < 3; ++candidate) {
      std::vector<float> picture;
      for (const auto& call : run.calls.at("vae_decoder"))
        for (std::size_t row = 0; row < call.at("latents").size(); ++row)
          if (call.at("latents")[row] == clean.at(static_cast<int>(candidate)))
            picture = call.at("image")[row];
      ASSERT_FALSE(picture.empty());
      std::vector<std::uint8_t> rgb(3 * 32 * 32), labels(32 * 32);
      image_to_rgb(picture, 32, 32, rgb);
      decode_labels(palette, rgb, labels, 255);
      const auto& control = seen[3 * renewal + candidate].at(0);
      for (std::size_t y = 0; y < 64; ++y)
        for (std::size_t x = 0; x < 64; ++x) {
          const auto& color = palette.classes()[labels[y / 2 * 32 + x / 2]].color;
          for (std::size_t channel = 0; channel < 3; ++channel)
            ASSERT_EQ(control[64 * (64 * channel + y) + x],
                      static_cast<float>(color[channel]) / 255.0F);
        }
    }
  }
  for (std::size_t step = 0; step < steps; ++step)
    for (std::size_t candidate = 0; candidate < 3; ++candidate)
      EXPECT_EQ(steps_of_image[step].at(candidate), hints[3 * (step / 3) + candidate].at(0));
}

// A condition factor's ControlNet sees a joint map likewise.
TEST(JointImage, SoDoesAConditionFactorsControlNet) {
  const auto bundle = chain_bundle({{"depth", {"segmentation"}, true}});
  auto request = small_request(13, 2);
  request.joint = {"segmentation", "depth"};
  request.joint_refresh = 1;
  const Recorded run(request, bundle);
  // Every step of two candidates; then the image's, once.
  EXPECT_EQ(run.of("controlnet_segmentation_hint", "controlnet_cond").size(), 2U * steps + 1);
  EXPECT_EQ(run.of("controlnet_segmentation", "hint").size(), 2U * steps);
  request.joint_refresh.reset();
  EXPECT_EQ(alone(request, bundle).request.joint_refresh, 4);
}

// A map that is dropped half-way takes its image along.
TEST(JointImage, PruningDropsImagesWithTheirMaps) {
  auto request = joint_request(4, 4);
  request.prune = {2};
  const Recorded run(request, by_adapter());
  EXPECT_EQ(run.metrics.rows, 2 * 3 * (2 * 2 + 2 * steps));
  EXPECT_EQ(run.metrics.rows_saved, 2 * 3 * 2 * 2);
  request.prune.clear();
  request.objects = std::vector<std::string>{};  // every map has all of it: one is enough
  request.stop_at_recall = 1.0;
  const Recorded first(request, by_adapter());
  EXPECT_EQ(first.metrics.rows, 2 * 3 * steps);
  EXPECT_EQ(first.metrics.rows_saved, 2 * 3 * steps * 3);
}

// A candidate whose image, or the map that a ControlNet would see, is lost goes alone.
TEST(JointImage, ACandidateFailsAsOne) {
  for (const std::string spoilt : {"adapter_image", "vae_decoder"}) {
    SCOPED_TRACE(spoilt);
    const auto& bundle = spoilt == "vae_decoder" ? by_controlnet() : by_adapter();
    int calls = 0;
    auto graphs = fake_graphs(bundle.manifest(), [&](const std::string& graph, auto, auto outputs) {
      if (graph == spoilt && ++calls == 1)
        static_cast<float*>(numbers_of(outputs.front().tensor))[0] =
            std::numeric_limits<float>::quiet_NaN();
    });
    Scheduler scheduler(bundle, graphs, {}, {});
    const auto job = submit(scheduler, joint_request(5), {}, bundle);
    ASSERT_TRUE(wait_for(*job));
    const auto& candidates = job->result.candidates;
    ASSERT_EQ(candidates.size(), 3U);
    EXPECT_TRUE(candidates[0].failed);
    EXPECT_FALSE(candidates[1].failed || candidates[2].failed);
    EXPECT_NE(job->result.chosen, 0);
    EXPECT_EQ(job->result.image.data.size(), 3U * 64 * 64);
    EXPECT_EQ(scheduler.metrics().candidates_failed, 1);
  }
}

// Of the best candidate the other pictures are decoded last: if one isn't finite, the next best is
// taken, and no request is lost while one is left.
TEST(JointImage, TheNextBestIsTakenWhereAPictureIsLost) {
  const auto image_lost = [](int losses) {
    int decoded = 0;
    auto graphs = fake_graphs(by_adapter().manifest(), [&](const std::string& graph, auto,
                                                           auto outputs) {
      // Three rows are the maps that are measured, one is the depth of the candidate taken.
      const auto& shape = outputs.front().tensor.shape;
      if (graph == "vae_decoder" && shape.front() == 1 && shape.back() == 32 && ++decoded <= losses)
        static_cast<float*>(numbers_of(outputs.front().tensor))[0] =
            std::numeric_limits<float>::quiet_NaN();
    });
    Scheduler scheduler(by_adapter(), graphs, {}, {});
    auto job = submit(scheduler, joint_request(5), {}, by_adapter());
    wait_for(*job);
    EXPECT_EQ(scheduler.metrics().candidates_failed, losses);
    return job;
  };
  const auto sound = image_lost(0);
  const auto job = image_lost(2);
  ASSERT_FALSE(job->error);
  EXPECT_NE(job->result.chosen, sound->result.chosen);
  EXPECT_EQ(std::ranges::count_if(job->result.candidates, &Candidate::failed), 2);
  EXPECT_TRUE(job->result.candidates.at(static_cast<std::size_t>(sound->result.chosen)).failed);
  EXPECT_EQ(job->result.image.data.size(), 3U * 64 * 64);
  testing::expect_failure<BackendError>(*image_lost(3));
}

// Requests of every kind share batches, and none sees its company.
TEST(JointImage, CompanyChangesNothing) {
  std::vector<Request> requests;
  for (int i = 0; i < 12; ++i) {
    auto request = small_request(static_cast<std::uint64_t>(200 + i), 1 + i % 3);
    request.condition_steps = request.num_inference_steps = 3 + i % 2;
    switch (i % 4) {
    case 0:
      request.joint = {"segmentation", "depth", "image"};
      request.joint_refresh = 1 + i % 3;
      break;
    case 1:
      request.joint = {"image", "depth"};  // the ControlNet sees the finished segmentation
      request.factors["depth"].candidates = 2;
      break;
    case 2:
      request.joint = {"segmentation", "depth", "image"};
      request.prune = {1};
      request.stop_at_recall = 0.5;
      break;
    default:
      request.joint = {"segmentation", "depth"};
    }
    requests.push_back(request);
  }
  testing::expect_company_changes_nothing(requests, by_controlnet());
}

TEST(JointImage, WrongOptionsAreNamed) {
  using Change = std::function<void(Request&)>;
  const std::vector<std::pair<std::string, Change>> cases{
      {"condition_steps of segmentation is 4 and num_inference_steps is 5; give the same number",
       [](Request& r) { r.num_inference_steps = 5; }},
      {"joint has only \"image\"", [](Request& r) { r.joint = {"image"}; }},
      {"a factor that is sampled alone lies between them",
       [](Request& r) { r.joint = {"segmentation", "image"}; }},
      {"image is given, but joint names the image",
       [](Request& r) { r.image = {64, 64, std::vector<std::uint8_t>(3 * 64 * 64)}; }},
      {"latents has 1024 values, expected 3072, shape (3, 4, 16, 16)",
       [](Request& r) { r.latents.resize(4 * 16 * 16); }},
      {"joint_refresh is 0, expected 1 to 1000", [](Request& r) { r.joint_refresh = 0; }},
      {"joint_refresh is 1001, expected 1 to 1000", [](Request& r) { r.joint_refresh = 1001; }},
      {"joint_refresh is 2, but no network of a joint factor paints from the map of another",
       [](Request& r) {
         r.joint = {"segmentation", "depth"};
         r.joint_refresh = 2;
       }},
      {"joint_refresh is 2, but no network", [](Request& r) {
         r.joint.clear();
         r.joint_refresh = 2;
       }}};
  for (const auto& [expected, change] : cases) {
    auto request = joint_request(12);
    change(request);
    expect_words(refusal<RequestError>([&] { resolve(request, by_controlnet().manifest()); }),
                 {expected.c_str()});
  }
}

}  // namespace
}  // namespace fgdm::joint_image_test
