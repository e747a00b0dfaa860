// A wrong option must be refused before any work, in words that name it and what is allowed; unset
// options must become the bundle's.
#include "request.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>

#include "fgdm/error.hpp"
#include "manifest_fixture.hpp"

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
      {"has 2 values, expected 1 or 1",
       [](Request& r) { r.controlnet_conditioning_scale = {1, 1}; }},
      {"holds \"depth\"", [](Request& r) { r.control_images["depth"] = {}; }},
      {"min_area", [](Request& r) { r.min_area = 2; }},
      {"height is 100, expected a multiple of 32; the nearest are 96 and 128",
       [](Request& r) { r.height = 100; }},
      {"width", [](Request& r) { r.width = 0; }},
      {"latents has 3 values, expected 4096, shape (1, 4, 32, 32)",
       [](Request& r) { r.latents = {1, 2, 3}; }},
      {"condition_latents", [](Request& r) { r.condition_latents.resize(7); }},
      {"not finite", [&](Request& r) { r.latents.assign(4096, static_cast<float>(nan)); }}};
  for (const auto& [expected, change] : cases) {
    auto value = request();
    change(value);
    try {
      fgdm::resolve(value, manifest());
      ADD_FAILURE() << expected << " was accepted";
    } catch (const fgdm::RequestError& error) {
      EXPECT_NE(std::string(error.what()).find(expected), std::string::npos)
          << expected << ": " << error.what();
    }
  }
}

}  // namespace
