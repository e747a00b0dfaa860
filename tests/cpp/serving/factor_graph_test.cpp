// Chains of several factors, over fake graphs: what each factor's network sees, one after another
// and jointly; maps that are given, refined and left out; pictures from pictures.
#include <limits>
#include <set>

#include "chain_bundle.hpp"
#include "factor_maps.hpp"
#include "fgdm/error.hpp"
#include "fgdm/noise.hpp"
#include "recorded.hpp"

namespace fgdm::factor_graph_test {
namespace {

using testing::alone;
using testing::chain_bundle;
using testing::fake_graphs;
using testing::four_factors;
using testing::labels_of;
using testing::numbers_of;
using testing::picture_of;
using testing::Recorded;
using testing::small_request;
using testing::submit;
using testing::wait_for;

constexpr int steps = 4;

// One after another, a factor sees the chosen map's latents as they were sampled, in every step.
TEST(FactorGraph, LaterFactorsSeeTheChosenLatents) {
  const Recorded run(small_request(1), four_factors());
  const auto chosen = static_cast<std::size_t>(run.result.factors.at("segmentation").chosen);
  // The autoencoder decodes the three candidates, then the depth map's, then the normals'.
  const auto decoded = run.of("vae_decoder");
  ASSERT_GE(decoded.size(), 3U);
  const auto& segmentation = decoded[0].rows.at(chosen);
  const auto& depth = decoded[1].rows.at(0);
  ASSERT_EQ(run.of("adapter_depth").size(), steps);
  for (const auto& call : run.of("adapter_depth")) {
    ASSERT_EQ(call.rows.size(), 1U);  // guidance's two rows share it
    EXPECT_EQ(call.rows[0], segmentation);
  }
  auto both = segmentation;
  both.insert(both.end(), depth.begin(), depth.end());
  ASSERT_EQ(run.of("adapter_normal").size(), steps);
  for (const auto& call : run.of("adapter_normal"))
    EXPECT_EQ(call.rows.at(0), both);
  EXPECT_TRUE(run.encoded.empty());
  EXPECT_EQ(run.result.factors.size(), 3U);
  EXPECT_EQ(run.result.factors.at("depth").candidates.size(), 1U);
  EXPECT_TRUE(run.result.factors.at("depth").candidates[0].labels.data.empty());
  EXPECT_EQ(run.result.candidates.size(), 3U);  // of the factor that makes labels
  EXPECT_EQ(run.result.map_rows, 2 * steps * (3 + 1 + 1));
}

// FG-DM, equations 4 to 6: a factor's step waits for the steps of those before it, and sees what
// they have become.
TEST(FactorGraph, JointFactorsSeeEachOtherAfterEveryStep) {
  auto request = small_request(2);
  request.joint = {"segmentation", "depth"};
  const Recorded run(request, four_factors());
  const auto maps = run.of("adapter_segmentation"), depths = run.of("adapter_depth");
  ASSERT_EQ(maps.size(), steps);
  ASSERT_EQ(depths.size(), steps);
  for (int step = 0; step + 1 < steps; ++step)
    EXPECT_EQ(depths[static_cast<std::size_t>(step)].rows,
              maps[static_cast<std::size_t>(step) + 1].rows);
  const auto decoded = run.of("vae_decoder");
  EXPECT_EQ(depths.back().rows, decoded[0].rows);  // what the last step made of the maps
  const auto chosen = run.result.factors.at("segmentation").chosen;
  EXPECT_EQ(run.result.factors.at("segmentation").candidates.size(), 3U);
  ASSERT_EQ(run.result.factors.at("depth").candidates.size(), 1U);
  EXPECT_EQ(run.result.factors.at("depth").candidates[0].index, chosen);
  EXPECT_EQ(run.result.map_rows, 2 * steps * (3 + 3 + 1));
}

// A joint pair costs what the same pair costs one after another.
TEST(FactorGraph, AJointPairTakesAsManyRows) {
  auto request = small_request(3, 1);
  const Recorded sequential(request, four_factors());
  request.joint = {"segmentation", "depth"};
  const Recorded joint(request, four_factors());
  EXPECT_EQ(joint.metrics.rows, sequential.metrics.rows);
  EXPECT_EQ(joint.metrics.batches, sequential.metrics.batches);
}

TEST(FactorGraph, AGivenMapIsMeasuredAndEncodedAndTakesNoStep) {
  auto request = small_request(4);
  request.factors["segmentation"].map = labels_of(0);
  const Recorded run(request, four_factors());
  EXPECT_TRUE(run.of("adapter_segmentation").empty());
  const auto& factor = run.result.factors.at("segmentation");
  EXPECT_TRUE(factor.given);
  ASSERT_EQ(factor.candidates.size(), 1U);
  EXPECT_EQ(factor.candidates[0].labels.data, labels_of(0).data);
  EXPECT_EQ(factor.candidates[0].steps, 0);
  EXPECT_EQ(factor.unknown_pixels, 0U);
  ASSERT_EQ(run.encoded.size(), 1U);  // once, for both who see it
  for (const auto& call : run.of("adapter_depth"))
    EXPECT_EQ(call.rows.at(0), run.encoded[0]);
  EXPECT_EQ(run.result.map_rows, 2 * steps * 2);

  // The same map as a picture, with a stain that is no class's colour.
  const auto colors = run.result.factors.at("segmentation").candidates[0].map;
  request.factors["segmentation"].map = colors;
  auto& bytes = request.factors["segmentation"].map.data;
  bytes[0] = bytes[1] = bytes[2] = 0;
  const Recorded picture(request, four_factors());
  EXPECT_EQ(picture.result.factors.at("segmentation").unknown_pixels, 1U);
  auto labels = labels_of(0).data;
  labels[0] = 255;
  EXPECT_EQ(picture.result.factors.at("segmentation").candidates[0].labels.data, labels);
}

TEST(FactorGraph, WhatIsLeftOutIsZerosToAdaptersAndNothingToTheImage) {
  auto request = small_request(5);
  request.factors["segmentation"].left_out = true;
  const Recorded run(request, four_factors());
  EXPECT_TRUE(run.of("adapter_segmentation").empty());
  EXPECT_TRUE(run.of("controlnet_segmentation").empty());
  EXPECT_FALSE(run.result.factors.contains("segmentation"));
  for (const auto& call : run.of("adapter_depth"))
    EXPECT_TRUE(std::ranges::all_of(call.rows.at(0), [](float value) { return value == 0.0F; }));
  EXPECT_EQ(run.result.candidates.size(), 1U);  // the normals': the last factor's
}

TEST(FactorGraph, ARefinedMapIsNoisedAndSampledAgain) {
  auto request = small_request(6, 2);
  auto& options = request.factors["segmentation"];
  options.map = labels_of(1);
  options.strength = 0.5;
  const Recorded run(request, four_factors());
  const auto calls = run.of("adapter_segmentation");
  ASSERT_EQ(calls.size(), steps / 2);
  ASSERT_EQ(run.encoded.size(), 1U);
  const auto& manifest = four_factors().manifest();
  const Sampler sampler(manifest.factors[0].sampler, manifest.schedule, steps);
  const auto level = sampler.level(steps / 2);
  for (std::uint32_t candidate = 0; candidate < 2; ++candidate) {
    std::vector<float> noise(run.encoded[0].size());
    normal_noise(6, candidate, 0, noise);
    for (std::size_t i = 0; i < noise.size(); ++i)
      ASSERT_NEAR(calls[0].rows.at(candidate)[i],
                  level.alpha * static_cast<double>(run.encoded[0][i]) +
                      level.sigma * static_cast<double>(noise[i]),
                  1e-5);
  }
  EXPECT_FALSE(run.result.factors.at("segmentation").given);
  options.map.data[0] = 255;
  EXPECT_EQ(alone(request, four_factors()).factors.at("segmentation").unknown_pixels, 1U);
  EXPECT_EQ(run.result.factors.at("segmentation").candidates[0].steps, steps / 2);
}

// Outside of the mask every pixel stays, and so does the latents' picture in every step.
TEST(FactorGraph, InpaintingKeepsWhatTheMaskDoesNotTouch) {
  auto request = small_request(7);
  request.image = picture_of(64, 64, 3, 1);
  request.mask = {64, 64, std::vector<std::uint8_t>(64 * 64)};
  request.mask.data[64 * 21 + 9] = 1;  // one pixel, of the cell in row 5 and column 2
  const Recorded run(request, four_factors());
  const auto& painted = run.result.image.data;
  int changed = 0;
  for (std::size_t pixel = 0; pixel < 64 * 64; ++pixel)
    for (std::size_t channel = 0; channel < 3; ++channel)
      if (painted[3 * pixel + channel] != request.image.data[3 * pixel + channel]) {
        ++changed;
        EXPECT_EQ(pixel, 64U * 21 + 9);
      }
  EXPECT_GT(changed, 0);
  const auto decoded = run.of("vae_decoder");
  const auto& latents = decoded.back().rows.at(0);
  const auto& kept = run.encoded.back();
  for (std::size_t i = 0; i < latents.size(); ++i)
    if (i % (16 * 16) == 5 * 16 + 2)
      EXPECT_NE(latents[i], kept[i]);
    else
      EXPECT_EQ(latents[i], kept[i]);
}

TEST(FactorGraph, AnImageIsPaintedOverPartOfTheSteps) {
  auto request = small_request(8);
  request.image = picture_of(64, 64, 3, 2);
  request.strength = 0.75;
  const Recorded run(request, four_factors());
  EXPECT_EQ(run.of("controlnet_segmentation").size(), 3U);
  request.strength.reset();
  EXPECT_EQ(alone(request, four_factors()).request.strength, 0.8);
}

TEST(FactorGraph, AChainWithoutMapsPaints) {
  static const auto bundle = chain_bundle({}, false);
  const auto result = alone(small_request(9), bundle);
  EXPECT_TRUE(result.candidates.empty());
  EXPECT_EQ(result.chosen, -1);
  EXPECT_EQ(result.image.data.size(), 3U * 64 * 64);
  EXPECT_EQ(result.map_rows, 0);
}

TEST(FactorGraph, EveryFactorTakesItsOwnOptions) {
  auto request = small_request(10);
  auto& depth = request.factors["depth"];
  depth.prompt = "a volcano";
  depth.condition_steps = 2;
  depth.candidates = 2;
  depth.guidance_scale = 1.0;  // none
  const Recorded run(request, four_factors());
  EXPECT_EQ(run.of("adapter_depth").size(), 2U);
  EXPECT_EQ(run.of("adapter_normal").size(), steps);
  EXPECT_EQ(run.result.factors.at("depth").candidates.size(), 2U);
  EXPECT_EQ(run.result.factors.at("depth").chosen, 0);
  EXPECT_EQ(run.result.map_rows, 2 * steps * 3 + 2 * 2 + 2 * steps);
}

// Optional factors of the shipped bundle are sampled where the request names them.
TEST(FactorGraph, OptionalFactorsAreLeftOutUnlessTheyAreNamed) {
  const auto& bundle = testing::shipped();
  const auto sampled = [&](const Request& request) {
    std::set<std::string> names;
    for (const auto& [name, factor] : Recorded(request, bundle).result.factors)
      names.insert(name);
    return names;
  };
  const auto& manifest = bundle.manifest();
  ASSERT_TRUE(std::ranges::any_of(manifest.factors, &FactorSpec::optional));
  auto request = small_request(1, 2);
  EXPECT_EQ(sampled(request), (std::set<std::string>{"segmentation"}));
  const auto resolved = resolve(request, manifest);
  EXPECT_TRUE(resolved.factors.at("depth").left_out);
  EXPECT_EQ(resolved.condition_guidance_scale, 4.0) << "the default of those that are sampled";
  request.factors["depth"] = {};
  EXPECT_EQ(sampled(request), (std::set<std::string>{"segmentation", "depth"}));
  EXPECT_EQ(resolve(request, manifest).condition_guidance_scale, std::nullopt);
  request = small_request(1, 2);
  request.joint = {"segmentation", "depth"};
  EXPECT_EQ(sampled(request), (std::set<std::string>{"segmentation", "depth"}));
}

// Requests of every kind share batches, and none sees its company.
TEST(FactorGraph, CompanyChangesNothing) {
  std::vector<Request> requests;
  for (int i = 0; i < 14; ++i) {
    auto request = small_request(static_cast<std::uint64_t>(100 + i), 1 + i % 3);
    request.condition_steps = 2 + i % 3;
    switch (i % 7) {
    case 0:
      request.joint = {"segmentation", "depth", "normal"};
      break;
    case 1:
      request.joint = {"depth", "normal"};
      request.stop_at_recall = 0.5;
      break;
    case 2:
      request.factors["segmentation"].map = labels_of(i);
      break;
    case 3:
      request.factors["segmentation"].left_out = true;
      break;
    case 4:
      request.factors["depth"].map = picture_of(32, 32, 3, i);
      request.factors["depth"].strength = 0.6;
      break;
    case 5:
      request.image = picture_of(64, 64, 3, i);
      request.mask = {64, 64, std::vector<std::uint8_t>(64 * 64)};
      std::fill_n(request.mask.data.begin(), 64 * 32, std::uint8_t{1});
      break;
    default:
      request.image = picture_of(64, 64, 3, i);
      request.strength = 0.5;
    }
    requests.push_back(request);
  }
  testing::expect_company_changes_nothing(requests, four_factors());
}

// A candidate whose depth is lost is lost altogether; the others go on.
TEST(FactorGraph, AJointCandidateFailsAsOne) {
  auto request = small_request(11);
  request.joint = {"segmentation", "depth"};
  request.condition_latents.clear();
  int calls = 0;
  auto graphs =
      fake_graphs(four_factors().manifest(), [&](const std::string& graph, auto, auto outputs) {
        if (graph != "adapter_depth" || ++calls != 2)
          return;
        static_cast<float*>(numbers_of(outputs.front().tensor))[0] =
            std::numeric_limits<float>::quiet_NaN();
      });
  // The fake backbone makes NaN of NaN in the first candidate's row.
  Scheduler scheduler(four_factors(), graphs, {}, {});
  const auto job = submit(scheduler, request, {}, four_factors());
  ASSERT_TRUE(wait_for(*job));
  const auto& candidates = job->result.factors.at("segmentation").candidates;
  ASSERT_EQ(candidates.size(), 3U);
  EXPECT_TRUE(candidates[0].failed);
  EXPECT_FALSE(candidates[1].failed);
  EXPECT_NE(job->result.factors.at("segmentation").chosen, 0);
  EXPECT_EQ(scheduler.metrics().candidates_failed, 1);
}

}  // namespace
}  // namespace fgdm::factor_graph_test
