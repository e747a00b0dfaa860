// Factors with a backbone of their own (FG-DM, appendix A.1.2), over fake graphs: which latents it
// sees, one factor after another and jointly, and that rows of two backbones share no batch.
#include <array>
#include <set>

#include "batch_times.hpp"
#include "chain_bundle.hpp"
#include "factor_maps.hpp"
#include "fgdm/noise.hpp"
#include "recorded.hpp"
#include "resize.hpp"

namespace fgdm::own_backbone_test {
namespace {

using testing::chain_bundle;
using testing::fake_graphs;
using testing::labels_of;
using testing::Recorded;
using testing::small_request;

constexpr int steps = 4;

// segmentation -> depth, whose own backbone sees it -> normal, whose adapter sees both -> image.
const Bundle& own_depth() {
  static const auto bundle = chain_bundle(
      {{"depth", {"segmentation", "depth"}, false, true}, {"normal", {"segmentation", "depth"}}});
  return bundle;
}

// segmentation -> depth, as above -> image, whose own backbone sees its own latent first.
const Bundle& own_depth_and_image() {
  static const auto bundle = chain_bundle({{"depth", {"segmentation", "depth"}, false, true}}, true,
                                          {"image", "depth", "segmentation"}, true);
  return bundle;
}

using Latent = std::vector<float>;

// One of the latents that a backbone's row holds side by side.
Latent part(const Latent& row, std::size_t index, std::size_t latents) {
  const auto size = static_cast<std::ptrdiff_t>(row.size() / latents);
  const auto begin = row.begin() + static_cast<std::ptrdiff_t>(index) * size;
  return {begin, begin + size};
}

// Its own noisy latent, beside the chosen map's as it was sampled: in every step, and in the
// negative row as in the positive one.
TEST(OwnBackbone, SeesTheChosenLatentsBesideItsOwn) {
  const Recorded run(small_request(1), own_depth());
  const auto chosen = static_cast<std::size_t>(run.result.factors.at("segmentation").chosen);
  const auto segmentation = run.of("vae_decoder").at(0).rows.at(chosen);
  const auto depth = run.of("vae_decoder").at(1).rows.at(0);
  const auto calls = run.of("backbone_depth");
  ASSERT_EQ(calls.size(), steps);
  Latent noise(depth.size());
  normal_noise(1, 0, 1, noise);
  EXPECT_EQ(part(calls[0].rows.at(0), 1, 2), noise);
  std::set<Latent> noisy;
  for (const auto& call : calls) {
    ASSERT_EQ(call.rows.size(), 2U);
    EXPECT_EQ(call.rows[0], call.rows[1]);
    EXPECT_EQ(part(call.rows[0], 0, 2), segmentation);
    noisy.insert(part(call.rows[0], 1, 2));
  }
  EXPECT_EQ(noisy.size(), steps) << "each step begins with what the one before it left";
  EXPECT_FALSE(noisy.contains(depth));
  // The shared backbone paints the segmentation, the normals and the image.
  EXPECT_EQ(run.of("backbone").size(), 3U * steps);
  EXPECT_EQ(run.of("adapter_normal").size(), steps);
  EXPECT_EQ(run.result.map_rows, 2 * steps * (3 + 1 + 1));
}

TEST(OwnBackbone, JointlySeesEarlierFactorsAfterTheirStep) {
  auto request = small_request(2);
  request.joint = {"segmentation", "depth"};
  const Recorded run(request, own_depth());
  const auto maps = run.of("adapter_segmentation"), depths = run.of("backbone_depth");
  ASSERT_EQ(maps.size(), steps);
  ASSERT_EQ(depths.size(), steps);
  const auto last = run.of("vae_decoder").at(0).rows;
  for (std::size_t step = 0; step < steps; ++step)
    for (std::size_t candidate = 0; candidate < 3; ++candidate) {
      const auto& now = step + 1 < steps ? maps[step + 1].rows : last;
      EXPECT_EQ(part(depths[step].rows.at(candidate), 0, 2), now.at(candidate));
    }
}

TEST(OwnBackbone, WhatIsLeftOutIsZerosAndAGivenMapIsEncoded) {
  auto request = small_request(3);
  request.factors["segmentation"].left_out = true;
  for (const auto& call : Recorded(request, own_depth()).of("backbone_depth"))
    for (const float value : part(call.rows.at(0), 0, 2))
      ASSERT_EQ(value, 0.0F);
  request = small_request(4);
  request.factors["segmentation"].map = labels_of(1);
  const Recorded given(request, own_depth());
  ASSERT_EQ(given.encoded.size(), 1U);
  for (const auto& call : given.of("backbone_depth"))
    EXPECT_EQ(part(call.rows.at(0), 0, 2), given.encoded[0]);
}

// Maps are half as large as the image.
TEST(OwnBackbone, OtherSizesAreResized) {
  const Recorded run(small_request(5), own_depth_and_image());
  const auto depth = run.of("vae_decoder").at(1).rows.at(0);
  Latent larger(depth.size() * 4);
  resize_bilinear(depth, 8, 8, larger, 16, 16);
  const auto calls = run.of("backbone_image");
  ASSERT_EQ(calls.size(), steps);
  for (const auto& call : calls)
    for (const auto& row : call.rows)
      EXPECT_EQ(part(row, 1, 3), larger);
  EXPECT_NE(part(calls[0].rows[0], 0, 3), part(calls[1].rows[0], 0, 3));
  EXPECT_TRUE(run.of("controlnet_segmentation").empty());
}

// Requests of every kind share batches of each backbone, and none sees its company.
TEST(OwnBackbone, CompanyChangesNothing) {
  for (const auto* bundle : {&own_depth(), &own_depth_and_image()}) {
    std::vector<Request> requests;
    for (int i = 0; i < 10; ++i) {
      auto request = small_request(static_cast<std::uint64_t>(100 + i), 1 + i % 3);
      request.condition_steps = 2 + i % 3;
      if (i % 5 == 0)
        request.joint = {"segmentation", "depth"};
      if (i % 5 == 1)
        request.factors["segmentation"].map = labels_of(i);
      if (i % 5 == 2)
        request.factors["segmentation"].left_out = true;
      if (i % 5 == 3)
        request.factors["depth"].guidance_scale = 1.0;  // one row a step
      if (i % 5 == 4 && bundle == &own_depth_and_image()) {
        request.joint = {"segmentation", "depth", "image"};
        request.num_inference_steps = request.condition_steps;
      }
      requests.push_back(request);
    }
    const auto metrics = testing::expect_company_changes_nothing(requests, *bundle);
    EXPECT_LT(metrics.batches, metrics.rows / 3) << "requests share batches";
  }
}

TEST(OwnBackbone, BatchTimesAreMeasuredThroughIt) {
  auto graphs = fake_graphs(own_depth_and_image().manifest());
  const std::array counts{1, 2};
  const auto times = measure_batches(own_depth_and_image(), graphs, counts, 1, {}, {}, [] {});
  ASSERT_EQ(times.size(), 3U);
  EXPECT_EQ(times[0].backbone, "");
  EXPECT_EQ(times[1].backbone, "backbone_depth");
  EXPECT_EQ(times[2].backbone, "backbone_image");
  EXPECT_EQ(own_depth_and_image().manifest().backbones(),
            (std::vector<std::string>{"backbone", "backbone_depth", "backbone_image",
                                      "backbone_shallow_1", "backbone_shallow_2"}));
}

}  // namespace
}  // namespace fgdm::own_backbone_test
