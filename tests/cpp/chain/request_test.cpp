// A wrong option must be refused before any work, in words that name it and what is allowed; unset
// options must become the bundle's.
#include "request.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>

#include "fgdm/error.hpp"
#include "manifest_fixture.hpp"
#include "runtime_fixture.hpp"

namespace {

using fgdm::Request;

fgdm::Manifest manifest() {
  return fgdm::Manifest::parse(fgdm::test::valid_manifest().dump());
}

Request request() {
  Request value;
  value.prompt = "a dog";
  return value;
}

TEST(Request, UnsetOptionsBecomeTheBundles) {
  const auto bundle = manifest();
  const auto resolved = fgdm::resolve(request(), bundle);
  EXPECT_EQ(resolved.num_inference_steps, 20);
  EXPECT_EQ(resolved.condition_steps, 10);
  EXPECT_EQ(resolved.guidance, fgdm::GuidanceKind::segfree);
  EXPECT_EQ(resolved.guidance_scale, 4.0);
  EXPECT_EQ(resolved.height, 128);
  EXPECT_EQ(resolved.min_area, 0.01);
  EXPECT_TRUE(resolved.seed.has_value());
  EXPECT_EQ(resolved.controlnet_conditioning_scale, std::vector<double>{0.5});
  EXPECT_EQ(fgdm::factor_sampler(resolved, bundle.factors[0]), fgdm::SamplerKind::ddim);
  EXPECT_EQ(fgdm::factor_sampler(resolved, bundle.factors[1]),
            fgdm::SamplerKind::dpmsolver_multistep);
}

// Protects maps and image from taking each other's sampler.
TEST(Request, MapsAndImageHaveTheirOwnSampler) {
  const auto bundle = manifest();
  auto value = request();
  value.condition_sampler = fgdm::SamplerKind::dpmsolver_multistep;
  value.sampler = fgdm::SamplerKind::ddim;
  const auto resolved = fgdm::resolve(value, bundle);
  EXPECT_EQ(fgdm::factor_sampler(resolved, bundle.factors[0]),
            fgdm::SamplerKind::dpmsolver_multistep);
  EXPECT_EQ(fgdm::factor_sampler(resolved, bundle.factors[1]), fgdm::SamplerKind::ddim);
}

// Protects painting from images that no factor makes: they must be there, in the image's size.
TEST(Request, ControlImagesAreCheckedAgainstTheBundle) {
  auto json = fgdm::test::valid_manifest();
  json["factors"][1]["conditionings"].push_back(json["factors"][1]["conditionings"][0]);
  json["factors"][1]["conditionings"][1]["condition"] = "depth";
  const auto bundle = fgdm::Manifest::parse(json.dump());
  const auto refusal = [&](const Request& value) -> std::string {
    try {
      fgdm::resolve(value, bundle);
    } catch (const fgdm::RequestError& error) {
      return error.what();
    }
    return "";
  };
  auto value = request();
  EXPECT_NE(refusal(value).find("control_images lacks \"depth\""), std::string::npos);
  value.control_images["depth"] = {64, 128, std::vector<std::uint8_t>(3 * 64 * 128)};
  EXPECT_NE(refusal(value).find("is 128 x 64 pixels"), std::string::npos) << refusal(value);
  value.control_images["depth"] = {128, 128, std::vector<std::uint8_t>(3 * 128 * 128)};
  value.controlnet_conditioning_scale = {0.25, 0.75};
  EXPECT_EQ(refusal(value), "");
  const auto& image = bundle.factors.back();
  EXPECT_EQ(fgdm::conditioning_scales(fgdm::resolve(value, bundle), image),
            (std::vector<float>{0.25F, 0.75F}));
}

// Protects the runtime from maps that its networks can't halve: width is looked at as height is,
// and ratios that are no whole number, too.
TEST(Request, EverySideOfEveryFactorIsAMultipleOfTheCell) {
  auto json = fgdm::test::valid_manifest();
  json["factors"][0]["width"] = 48;
  const auto bundle = fgdm::Manifest::parse(json.dump());
  auto value = request();
  value.width = 96;  // the map's would be 36
  try {
    fgdm::resolve(value, bundle);
    FAIL() << "96 was accepted";
  } catch (const fgdm::RequestError& error) {
    EXPECT_NE(std::string(error.what()).find("width is 96, expected"), std::string::npos)
        << error.what();
  }
  value.width = 256;
  const auto size = fgdm::factor_size(fgdm::resolve(value, bundle), bundle, bundle.factors[0]);
  EXPECT_EQ(size.width, 96);
  EXPECT_EQ(size.height, 64);
}

// Protects the order of who decides on a spacing: the factor's options, the request's, the factor's
// in the manifest, the noise schedule's for the sampler.
TEST(Request, TheNearestSpacingDecides) {
  using fgdm::TimestepSpacing;
  auto json = fgdm::test::valid_manifest();
  json["scheduler"]["timestep_spacing"] = {{"ddim", "leading"}, {"dpmsolver++", "linspace"}};
  const auto spacings = [&](const fgdm::Request& value) {
    const auto bundle = fgdm::Manifest::parse(json.dump());
    const auto resolved = fgdm::resolve(value, bundle);
    return std::pair(fgdm::factor_spacing(resolved, bundle.factors[0]),
                     fgdm::factor_spacing(resolved, bundle.factors[1]));
  };
  EXPECT_EQ(spacings(request()), std::pair(TimestepSpacing::leading, TimestepSpacing::linspace));
  auto value = request();
  value.condition_sampler = fgdm::SamplerKind::dpmsolver_multistep;
  EXPECT_EQ(spacings(value).first, TimestepSpacing::linspace);
  json["factors"][0]["timestep_spacing"] = "trailing";
  json["factors"][1]["timestep_spacing"] = "trailing";
  EXPECT_EQ(spacings(value), std::pair(TimestepSpacing::trailing, TimestepSpacing::trailing));
  value.timestep_spacing = TimestepSpacing::leading;
  EXPECT_EQ(spacings(value), std::pair(TimestepSpacing::trailing, TimestepSpacing::leading));
  value.condition_timestep_spacing = TimestepSpacing::linspace;
  EXPECT_EQ(spacings(value), std::pair(TimestepSpacing::linspace, TimestepSpacing::leading));
  value.factors["segmentation"].timestep_spacing = TimestepSpacing::leading;
  EXPECT_EQ(spacings(value).first, TimestepSpacing::leading);
}

TEST(Request, TheBundlesWaveCountsWhereMapsStop) {
  auto json = fgdm::test::valid_manifest();
  json["factors"][0]["wave"] = 3;
  json["factors"][0]["stop_at_recall"] = 0.5;
  const auto bundle = fgdm::Manifest::parse(json.dump());
  const auto waves = [&](const fgdm::Request& asked) {
    const auto resolved = fgdm::resolve(asked, bundle);
    EXPECT_EQ(resolved.wave, resolved.factors.at("segmentation").wave) << "what is reported";
    return *resolved.wave;
  };
  auto value = request();
  EXPECT_EQ(waves(value), 3);
  value.wave = 0;
  EXPECT_EQ(waves(value), 0);
  value.wave.reset();
  value.stop_at_recall = 0.0;
  EXPECT_EQ(waves(value), 0) << "all maps are finished: there is nothing to wait for";
  value.stop_at_recall.reset();
  value.select = fgdm::SelectBy::compliance;
  EXPECT_EQ(waves(value), 3);
  value.stop_at_compliance = 0.0;
  EXPECT_EQ(waves(value), 0) << "likewise";
  value.stop_at_compliance = 0.5;
  EXPECT_EQ(waves(value), 3);
  value.prune = {1};
  EXPECT_EQ(waves(value), 0) << "a wave may be too small for a half to be dropped";
  value.prune.clear();
  value.select = fgdm::SelectBy::recall;
  value.stop_at_compliance.reset();
  value.stop_at_recall = 0.0;
  value.wave = 2;
  EXPECT_THROW(waves(value), fgdm::RequestError);
}

// Protects a second condition factor from the first one's defaults.
TEST(Request, EveryConditionFactorHasItsOwnDefaults) {
  auto json = fgdm::test::valid_manifest();
  auto second = json["factors"][0];
  second["name"] = "second";
  second["num_inference_steps"] = 3;
  second["sampler"] = "dpmsolver++";
  second["guidance_scale"] = 9.0;
  second["stop_at_recall"] = 0.25;
  second["min_area"] = 0.5;
  json["factors"].insert(json["factors"].begin() + 1, second);
  const auto bundle = fgdm::Manifest::parse(json.dump());
  const auto &one = bundle.factors[0], &two = bundle.factors[1];
  const auto resolved = fgdm::resolve(request(), bundle);
  EXPECT_EQ(fgdm::factor_steps(resolved, one), 10);
  EXPECT_EQ(fgdm::factor_steps(resolved, two), 3);
  EXPECT_EQ(fgdm::factor_sampler(resolved, one), fgdm::SamplerKind::ddim);
  EXPECT_EQ(fgdm::factor_sampler(resolved, two), fgdm::SamplerKind::dpmsolver_multistep);
  EXPECT_EQ(fgdm::factor_guidance(resolved, two).guidance_scale, 9.0F);
  EXPECT_EQ(*resolved.factors.at(two.name).stop_at_recall, 0.25);
  EXPECT_EQ(*resolved.factors.at(one.name).min_area, 0.01);
  EXPECT_EQ(*resolved.factors.at(two.name).min_area, 0.5);

  auto value = request();  // what is given holds for all
  value.condition_steps = 5;
  value.min_area = 0.0;
  const auto asked = fgdm::resolve(value, bundle);
  EXPECT_EQ(fgdm::factor_steps(asked, two), 5);
  EXPECT_EQ(*asked.factors.at(two.name).min_area, 0.0);
  value.prune = {4};
  value.condition_steps.reset();  // the second one has 3
  EXPECT_THROW(fgdm::resolve(value, bundle), fgdm::RequestError);
}

TEST(Request, OneScaleIsForAllNetworks) {
  auto json = fgdm::test::valid_manifest();
  for (int i = 0; i < 20; ++i)  // more than a vector of one has room for
    json["factors"][1]["conditionings"].push_back(json["factors"][1]["conditionings"][0]);
  const auto bundle = fgdm::Manifest::parse(json.dump());
  auto value = request();
  value.controlnet_conditioning_scale = {0.25};
  EXPECT_EQ(fgdm::resolve(value, bundle).controlnet_conditioning_scale,
            std::vector<double>(21, 0.25));
}

TEST(Request, MapsScaleWithTheImage) {
  auto value = request();
  value.height = 192;
  value.width = 256;
  const auto resolved = fgdm::resolve(value, manifest());
  const auto size = fgdm::factor_size(resolved, manifest(), manifest().factors.front());
  EXPECT_EQ(size.height, 96);
  EXPECT_EQ(size.width, 128);
  EXPECT_EQ(size.latent_height, 24);
  EXPECT_EQ(size.latent_width, 32);
}

TEST(Request, EveryWrongOptionIsNamed) {
  const double nan = std::nan("");
  const std::vector<std::pair<std::string, std::function<void(Request&)>>> cases{
      {"prompt", [](Request& r) { r.prompt = " \n"; }},
      {"candidates is 0", [](Request& r) { r.candidates = 0; }},
      {"candidates is 10000", [](Request& r) { r.candidates = 10000; }},
      {"condition_steps", [](Request& r) { r.condition_steps = 0; }},
      {"num_inference_steps", [](Request& r) { r.num_inference_steps = 1001; }},
      {"guidance_scale is nan", [&](Request& r) { r.guidance_scale = nan; }},
      {"guidance_scale is inf", [](Request& r) { r.guidance_scale = INFINITY; }},
      {"condition_guidance_scale", [&](Request& r) { r.condition_guidance_scale = nan; }},
      {"segfree_scale", [](Request& r) { r.segfree_scale = -1; }},
      {"segfree_guidance_scale", [&](Request& r) { r.segfree_guidance_scale = nan; }},
      {"segfree_start", [](Request& r) { r.segfree_start = 1.5; }},
      {"controlnet_conditioning_scale",
       [&](Request& r) { r.controlnet_conditioning_scale = {nan}; }},
      {"has 2 values, expected 1: one for each",
       [](Request& r) { r.controlnet_conditioning_scale = {1, 1}; }},
      {"prompt has 32769 bytes, expected at most 32768",
       [](Request& r) { r.prompt.assign(fgdm::max_prompt_size + 1, 'a'); }},
      {"negative_prompt has 32769 bytes",
       [](Request& r) { r.negative_prompt.assign(fgdm::max_prompt_size + 1, 'a'); }},
      {"guidance is 7", [](Request& r) { r.guidance = static_cast<fgdm::GuidanceKind>(7); }},
      {"sampler is 9", [](Request& r) { r.sampler = static_cast<fgdm::SamplerKind>(9); }},
      {"condition_sampler is -1",
       [](Request& r) { r.condition_sampler = static_cast<fgdm::SamplerKind>(-1); }},
      {"timestep_spacing is 8",
       [](Request& r) { r.timestep_spacing = static_cast<fgdm::TimestepSpacing>(8); }},
      {"condition_timestep_spacing is -1",
       [](Request& r) { r.condition_timestep_spacing = static_cast<fgdm::TimestepSpacing>(-1); }},
      {"prune has 1, but maps of factor segmentation take one step",
       [](Request& r) {
         r.condition_steps = 1;
         r.prune = {1};
       }},
      {"stop_at_recall is 2", [](Request& r) { r.stop_at_recall = 2; }},
      {"holds \"depth\"", [](Request& r) { r.control_images["depth"] = {}; }},
      {"min_area", [](Request& r) { r.min_area = 2; }},
      {"height is 100, expected a multiple of 32; the nearest are 96 and 128",
       [](Request& r) { r.height = 100; }},
      {"width", [](Request& r) { r.width = 0; }},
      {"latents has 3 values, expected 4096, shape (1, 4, 32, 32)",
       [](Request& r) { r.latents = {1, 2, 3}; }},
      {"latents has shape (1, 32, 32, 4), expected (1, 4, 32, 32): rows, channels, height, width",
       [](Request& r) {
         r.latents.resize(4096);
         r.latents_shape = {1, 32, 32, 4};
       }},
      {"condition_latents", [](Request& r) { r.condition_latents.resize(7); }},
      {"not finite", [&](Request& r) { r.latents.assign(4096, static_cast<float>(nan)); }}};
  for (const auto& [expected, change] : cases) {
    auto value = request();
    change(value);
    fgdm::testing::expect_words(
        fgdm::testing::refusal<fgdm::RequestError>([&] { fgdm::resolve(value, manifest()); }),
        {expected.c_str()});
  }
}

}  // namespace
