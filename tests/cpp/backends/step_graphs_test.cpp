// Which graphs a factor's steps run, and so stay in memory together where it is short.
#include "step_graphs.hpp"

#include <gtest/gtest.h>

#include "fake_sessions.hpp"

namespace fgdm {
namespace {

using testing::scenes;

TEST(StepGraphs, AreTogetherWhereAFactorsStepRunsBoth) {
  const StepGraphs steps(scenes().manifest());
  EXPECT_TRUE(steps.together("backbone", "adapter_segmentation"));
  EXPECT_TRUE(steps.together("controlnet_segmentation", "backbone"));
  EXPECT_TRUE(steps.together("controlnet_segmentation", "controlnet_segmentation_hint"));
  EXPECT_TRUE(steps.together("backbone", "backbone_shallow_2")) << "a request may ask for it";
}

TEST(StepGraphs, AreApartWhereNoFactorsStepRunsBoth) {
  const StepGraphs steps(scenes().manifest());
  EXPECT_FALSE(steps.together("adapter_segmentation", "controlnet_segmentation"));
  EXPECT_FALSE(steps.together("adapter_segmentation", "adapter_depth"));
  for (const char* alone : {"text_encoder", "vae_decoder", "vae_encoder"})
    EXPECT_FALSE(steps.together(alone, "backbone"));
}

TEST(StepGraphs, OfAFactorHaveTheShallowOnesThatAreWanted) {
  auto manifest = scenes().manifest();
  auto& image = manifest.factors.back();
  const auto has = [&](Shallow shallow, const std::string& graph) {
    const auto names = graphs_of_steps(manifest, image, shallow);
    return std::ranges::find(names, graph) != names.end();
  };
  image.cache = {1, 1};
  EXPECT_FALSE(has(Shallow::by_itself, "backbone_shallow_1"));
  image.cache = {3, 1};
  EXPECT_TRUE(has(Shallow::by_itself, "backbone_shallow_1"));
  EXPECT_FALSE(has(Shallow::by_itself, "backbone_shallow_2"));
  EXPECT_TRUE(has(Shallow::all, "backbone_shallow_2"));
}

}  // namespace
}  // namespace fgdm
