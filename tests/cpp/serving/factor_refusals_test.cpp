// What a request for several factors can't have is refused, in words that name it.
#include <functional>

#include "chain_bundle.hpp"
#include "factor_maps.hpp"
#include "fgdm/error.hpp"
#include "read_map.hpp"
#include "request.hpp"
#include "runtime_fixture.hpp"
#include "scheduler_fixture.hpp"

namespace fgdm::factor_refusals_test {
namespace {

using testing::expect_words;
using testing::four_factors;
using testing::labels_of;
using testing::picture_of;
using testing::refusal;
using testing::small_request;

TEST(FactorGraph, WrongOptionsAreNamed) {
  using Change = std::function<void(Request&)>;
  const std::vector<std::pair<std::string, Change>> cases{
      {"factors has \"sound\", which is no condition factor of this bundle; it has segmentation, "
       "depth, normal",
       [](Request& r) { r.factors["sound"]; }},
      {"factors has \"image\"", [](Request& r) { r.factors["image"]; }},
      {"factors[\"depth\"] candidates is 0", [](Request& r) { r.factors["depth"].candidates = 0; }},
      {"factors[\"depth\"] prune is set, but depth makes pictures",
       [](Request& r) { r.factors["depth"].prune = {1}; }},
      {"factors[\"depth\"] map is 64 x 64 pixels, expected the factor's size, 32 x 32",
       [](Request& r) { r.factors["depth"].map = picture_of(64, 64, 3, 0); }},
      {"factors[\"depth\"] map holds labels, but depth makes pictures",
       [](Request& r) { r.factors["depth"].map = labels_of(0); }},
      {"label 99",
       [](Request& r) {
         r.factors["segmentation"].map = labels_of(0);
         r.factors["segmentation"].map.data[5] = 99;
       }},
      {"candidates is set, but the map is given",
       [](Request& r) {
         r.factors["segmentation"].map = labels_of(0);
         r.factors["segmentation"].candidates = 2;
       }},
      {"strength is 0.5, but there is no map to begin with",
       [](Request& r) { r.factors["depth"].strength = 0.5; }},
      {"strength is 1.5, expected 0 to 1",
       [](Request& r) {
         r.factors["segmentation"].map = labels_of(0);
         r.factors["segmentation"].strength = 1.5;
       }},
      {"strength is 0.1, which of 4 steps leaves none",
       [](Request& r) {
         r.factors["segmentation"].map = labels_of(0);
         r.factors["segmentation"].strength = 0.1;
       }},
      {"joint has \"sound\", which is no factor of this bundle; it has segmentation, depth, "
       "normal, "
       "image",
       [](Request& r) { r.joint = {"segmentation", "sound"}; }},
      {"joint has only \"depth\"", [](Request& r) { r.joint = {"depth"}; }},
      {"joint names a factor twice", [](Request& r) { r.joint = {"depth", "depth"}; }},
      {"a factor that is sampled alone lies between them",
       [](Request& r) { r.joint = {"segmentation", "normal"}; }},
      {"condition_steps of segmentation is 4 and condition_steps of depth is 3; give the same",
       [](Request& r) {
         r.joint = {"segmentation", "depth"};
         r.factors["depth"].condition_steps = 3;
       }},
      {"equally many candidates, but factors say 2 and 3",
       [](Request& r) {
         r.joint = {"segmentation", "depth"};
         r.factors["segmentation"].candidates = 2;
         r.factors["depth"].candidates = 3;
       }},
      {"joint has \"segmentation\", which is given a map",
       [](Request& r) {
         r.joint = {"segmentation", "depth"};
         r.factors["segmentation"].map = labels_of(0);
       }},
      {"joint has \"depth\", which is left out",
       [](Request& r) {
         r.joint = {"segmentation", "depth"};
         r.factors["depth"].left_out = true;
       }},
      {"factors[\"depth\"] map is set, but depth is left out",
       [](Request& r) {
         r.factors["depth"].left_out = true;
         r.factors["depth"].map = {1, 1, {1, 2, 3}};
       }},
      {"factors[\"depth\"] sampler is 99",
       [](Request& r) { r.factors["depth"].sampler = static_cast<SamplerKind>(99); }},
      {"factors[\"depth\"] timestep_spacing is \"karras\", which sampler \"lcm\" doesn't have",
       [](Request& r) {
         r.factors["depth"].sampler = SamplerKind::lcm;
         r.factors["depth"].timestep_spacing = TimestepSpacing::karras;
       }},
      {"condition_timestep_spacing of segmentation is \"karras\", which sampler \"tcd\"",
       [](Request& r) {
         r.condition_timestep_spacing = TimestepSpacing::karras;
         r.factors["segmentation"].sampler = SamplerKind::tcd;
       }},
      {"factors[\"depth\"] timestep_spacing is 7",
       [](Request& r) { r.factors["depth"].timestep_spacing = static_cast<TimestepSpacing>(7); }},
      {"factors[\"depth\"] condition_steps is 0",
       [](Request& r) {
         r.factors["depth"].map = picture_of(32, 32, 3, 0);
         r.factors["depth"].condition_steps = 0;
         r.factors["depth"].strength = 0.5;
       }},
      {"factors[\"depth\"] candidates is -3",
       [](Request& r) {
         r.joint = {"segmentation", "depth"};
         r.factors["depth"].candidates = -3;
       }},
      {"expected steps from 1 to 1, one less than the steps that the strength leaves",
       [](Request& r) {
         r.factors["segmentation"].map = labels_of(0);
         r.factors["segmentation"].strength = 0.5;
         r.factors["segmentation"].prune = {2};
       }},
      {"condition_latents has 3 values",
       [](Request& r) {
         r.factors["segmentation"].map = labels_of(0);
         r.factors["segmentation"].strength = 0.5;
         r.condition_latents = {1, 2, 3};
       }},
      {"mask is given, but no image", [](Request& r) { r.mask = picture_of(64, 64, 1, 0); }},
      {"strength is 0.5, but there is no image", [](Request& r) { r.strength = 0.5; }},
      {"image is 32 x 32 pixels, expected the image's size, 64 x 64",
       [](Request& r) { r.image = picture_of(32, 32, 3, 0); }},
      {"mask is 32 x 32",
       [](Request& r) {
         r.image = picture_of(64, 64, 3, 0);
         r.mask = picture_of(32, 32, 1, 0);
       }},
      {"mask marks no pixel",
       [](Request& r) {
         r.image = picture_of(64, 64, 3, 0);
         r.mask = {64, 64, std::vector<std::uint8_t>(64 * 64)};
       }},
      {"strength is 0.2, which of 4 steps leaves none", [](Request& r) {
         r.image = picture_of(64, 64, 3, 0);
         r.strength = 0.2;
       }}};
  for (const auto& [expected, change] : cases) {
    auto request = small_request(12);
    change(request);
    expect_words(refusal<RequestError>([&] {
                   const auto resolved = resolve(request, four_factors().manifest());
                   read_maps(resolved, four_factors());
                 }),
                 {expected.c_str()});
  }
}

}  // namespace
}  // namespace fgdm::factor_refusals_test
