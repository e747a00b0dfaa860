// Pictures that are taken back into noise and edited from there, in the scheduler over fake graphs.
#include <algorithm>
#include <cmath>

#include "editing_options.hpp"
#include "far_device.hpp"
#include "fgdm/error.hpp"
#include "scheduler_fixture.hpp"

namespace fgdm {
namespace {

using testing::alone;
using testing::expect_failure;
using testing::fake_graphs;
using testing::numbers_of;
using testing::scenes;
using testing::small_request;
using testing::submit;
using testing::wait_for;

constexpr const char* map_factor = "segmentation";

Pixels picture(int side) {
  Pixels made{side, side, std::vector<std::uint8_t>(3 * static_cast<std::size_t>(side * side))};
  for (std::size_t i = 0; i < made.data.size(); ++i)
    made.data[i] = static_cast<std::uint8_t>(37 * i % 251);
  return made;
}

Request inverting(const std::string& factor, std::uint64_t seed = 5) {
  auto request = small_request(seed);
  request.prompt.clear();
  request.num_inference_steps = request.condition_steps = {};
  request.editing.emplace();
  request.editing->settings.factor = factor;
  request.editing->settings.num_inference_steps = 5;
  request.factors[map_factor].map = picture(32);  // of an image, what it is painted from
  if (factor != map_factor)
    request.image = picture(64);
  return request;
}

Edit edit(const std::string& prompt, double scale, double threshold = 0.5) {
  Edit made;
  made.prompt = prompt;
  made.scale = scale;
  made.threshold = threshold;
  return made;
}

Request editing(std::shared_ptr<const Inversion> inversion, std::vector<Edit> edits) {
  auto request = small_request(77);  // whose noise an edit doesn't draw
  request.condition_steps = {};
  const bool is_image = inversion->settings.factor != map_factor;
  if (is_image) {
    request.num_inference_steps = {};
    request.factors[map_factor].map = picture(32);
  }
  request.editing.emplace();
  request.editing->inversion = std::move(inversion);
  request.editing->edits = std::move(edits);
  return request;
}

// What the encoder made of the picture, which a decoder is asked for in the end.
std::vector<float> decoded_latents(Request request) {
  std::vector<float> last;
  auto graphs = fake_graphs(scenes().manifest(), [&](const std::string& graph,
                                                     std::span<const NamedTensor> inputs, auto) {
    const auto& latents = inputs.front().tensor;
    if (graph == "vae_decoder")
      last.assign(static_cast<const float*>(numbers_of(latents)),
                  static_cast<const float*>(numbers_of(latents)) + latents.elements());
  });
  Scheduler scheduler(scenes(), graphs, {}, {});
  EXPECT_TRUE(wait_for(*submit(scheduler, std::move(request))));
  return last;
}

class Inverting : public ::testing::TestWithParam<const char*> {};

// Protects reconstruction: an edit that counts nothing ends at the latents of the picture, whatever
// the seed is.
TEST_P(Inverting, AnEditOfNothingEndsAtThePicture) {
  for (const auto sampler : {SamplerKind::dpmsolver_sde, SamplerKind::ddim})
    for (const double guidance : {1.0, 3.0}) {
      auto request = inverting(GetParam());
      request.editing->settings.sampler = sampler;
      request.editing->settings.guidance_scale = guidance;
      request.editing->settings.prompt = "a house";
      const auto inversion = alone(request).inversion;
      ASSERT_TRUE(inversion);
      EXPECT_EQ(inversion->settings.first(), 1);
      EXPECT_EQ(inversion->remainders.size(), 4 * inversion->latents.size());
      const auto clean = decoded_latents(request);
      auto again = editing(inversion, {edit("a dog", 0.0)});
      if (GetParam() == std::string(map_factor))
        again.factors[map_factor].objects = {"dog"};
      std::vector<float> first_decoded;
      auto watched = fake_graphs(scenes().manifest(), [&](const std::string& graph,
                                                          std::span<const NamedTensor> inputs,
                                                          auto) {
        const auto& latents = inputs.front().tensor;
        if (graph == "vae_decoder" && latents.elements() == clean.size())
          first_decoded.assign(static_cast<const float*>(numbers_of(latents)),
                               static_cast<const float*>(numbers_of(latents)) + latents.elements());
      });
      Scheduler scheduler(scenes(), watched, {}, {});
      ASSERT_TRUE(wait_for(*submit(scheduler, again)));
      ASSERT_EQ(first_decoded.size(), clean.size());
      for (std::size_t i = 0; i < clean.size(); ++i)
        EXPECT_NEAR(double{first_decoded[i]}, double{clean[i]}, 1e-5);
    }
}

INSTANTIATE_TEST_SUITE_P(Factors, Inverting, ::testing::Values(map_factor, "image"));

// Protects the promise: rows of inversions and of edits share batches with any others, and
// nobody's result is another for it.
TEST(Editing, CompanyChangesNothing) {
  std::vector<Request> requests;
  const auto of_map = alone(inverting(map_factor)).inversion;
  const auto of_image = alone(inverting("image")).inversion;
  for (std::uint64_t i = 0; i < 3; ++i) {
    requests.push_back(small_request(i));
    requests.back().guidance = i == 0 ? GuidanceKind::cfg : GuidanceKind::segfree;
    requests.push_back(inverting(map_factor, i));
    requests.push_back(inverting("image", i));
    auto away = edit("a tree", 2.0, 0.0);
    away.away = true;
    away.warm_up = 1;
    away.cool_down = 3;
    requests.push_back(editing(of_map, {edit("a dog", 3.0 + static_cast<double>(i)), away}));
    requests.push_back(editing(of_image, {away, edit("a house", 3.0, 0.9)}));
  }
  testing::expect_company_changes_nothing(requests);
  EXPECT_EQ(alone(inverting("image", 2)).inversion->remainders,
            alone(inverting("image", 2)).inversion->remainders);
}

TEST(Editing, FindsTheSameInCompany) {
  auto graphs = fake_graphs(scenes().manifest());
  Scheduler scheduler(scenes(), graphs, {}, {});
  std::vector<std::shared_ptr<JobState>> jobs;
  scheduler.perform([&] {
    for (std::uint64_t i = 0; i < 4; ++i)
      jobs.push_back(submit(scheduler, inverting(i % 2 == 0 ? map_factor : "image", i)));
    jobs.push_back(submit(scheduler, small_request(9)));
  });
  for (std::uint64_t i = 0; i < 4; ++i) {
    ASSERT_TRUE(wait_for(*jobs[i]));
    const auto expected = alone(inverting(i % 2 == 0 ? map_factor : "image", i)).inversion;
    EXPECT_EQ(jobs[i]->result.inversion->latents, expected->latents);
    EXPECT_EQ(jobs[i]->result.inversion->remainders, expected->remainders);
  }
  EXPECT_TRUE(wait_for(*jobs.back()));
  EXPECT_FALSE(jobs.back()->result.inversion);
}

// Protects that a request that inverts ends with its factor, and that edits cost a row a step, and
// only in the steps that have them.
TEST(Editing, TakesTheRowsThatItNeeds) {
  auto graphs = fake_graphs(scenes().manifest());
  Scheduler scheduler(scenes(), graphs, {}, {});
  const auto inverted = submit(scheduler, inverting(map_factor));
  ASSERT_TRUE(wait_for(*inverted));
  EXPECT_EQ(scheduler.metrics().rows, 4) << "five steps without the first, no image";
  EXPECT_TRUE(inverted->result.image.data.empty());
  auto short_lived = edit("a tree", 2.0);
  short_lived.warm_up = 1;
  short_lived.cool_down = 3;
  auto request = editing(inverted->result.inversion, {edit("a dog", 2.0), short_lived});
  ASSERT_TRUE(wait_for(*submit(scheduler, request)));
  EXPECT_EQ(scheduler.metrics().rows, 4 + (4 + 4 + 2) + 4 * 2) << "and four guided image steps";
}

// Protects masks: outside of an edit's cells the latents of its steps are those without it.
TEST(Editing, ActsOnlyWithinItsMask) {
  const auto inversion = alone(inverting("image")).inversion;
  auto masked = edit("a dog", 4.0, 0.0);
  masked.mask = {64, 64, std::vector<std::uint8_t>(64 * 64, 0)};
  for (std::size_t row = 0; row < 32; ++row)
    std::fill_n(masked.mask.data.begin() + static_cast<std::ptrdiff_t>(64 * row), 64, 1);
  masked.cool_down = 1;  // later steps see the whole of what the first has changed
  std::vector<std::vector<float>> x0;
  for (const auto& one : {masked, edit("a dog", 0.0)}) {
    auto graphs = fake_graphs(scenes().manifest());
    Scheduler scheduler(scenes(), graphs, {}, {});
    const auto job = submit(scheduler, editing(inversion, {one}), [&](const StepInfo& info) {
      if (info.factor == "image" && info.step == 0)
        x0.emplace_back(info.predicted_x0.begin(), info.predicted_x0.end());
      return false;
    });
    ASSERT_TRUE(wait_for(*job));
  }
  ASSERT_EQ(x0.size(), 2U);
  const auto cells = x0[0].size() / 4;
  std::size_t changed = 0;
  for (std::size_t i = 0; i < x0[0].size(); ++i) {
    if (i % cells >= cells / 2) {
      EXPECT_EQ(x0[0][i], x0[1][i]) << i;
    }
    changed += x0[0][i] != x0[1][i] ? 1 : 0;
  }
  EXPECT_GT(changed, x0[0].size() / 4);
}

// Protects the steps on a device whose memory the host can't read.
TEST(Editing, IsTheSameOnADeviceOfItsOwn) {
  const auto inverts = inverting("image");
  const auto inversion = alone(inverts).inversion;
  const auto edits = editing(inversion, {edit("a dog", 3.0)});
  auto graphs = fake_graphs(scenes().manifest(), {}, {}, std::make_shared<testing::FarDevice>());
  Scheduler scheduler(scenes(), graphs, {}, {});
  const auto inverted = submit(scheduler, inverts), edited = submit(scheduler, edits);
  ASSERT_TRUE(wait_for(*inverted));
  ASSERT_TRUE(wait_for(*edited));
  EXPECT_EQ(inverted->result.inversion->remainders, inversion->remainders);
  EXPECT_EQ(edited->result.image.data, alone(edits).image.data);
}

TEST(Editing, PlainDdimGoesBackAndHasNoRemainders) {
  auto request = inverting("image");
  request.editing->settings.sampler = SamplerKind::ddim;
  request.editing->settings.eta = 0.0;
  const auto inversion = alone(request).inversion;
  EXPECT_TRUE(inversion->remainders.empty());
  EXPECT_FALSE(alone(editing(inversion, {edit("a dog", 3.0)})).image.data.empty());
  request.seed = 6;
  EXPECT_EQ(alone(request).inversion->latents, inversion->latents) << "it draws no noise";
}

// Protects a request whose edit isn't finite from a picture of nothing.
TEST(Editing, ALatentThatIsNotFiniteFails) {
  const auto inversion = alone(inverting("image")).inversion;
  auto graphs = fake_graphs(scenes().manifest(), [](const std::string& graph, auto,
                                                    std::span<const NamedTensor> outputs) {
    if (graph == "backbone" && outputs.front().tensor.shape.front() == 2)
      static_cast<float*>(numbers_of(
          outputs.front().tensor))[outputs.front().tensor.elements() - 1] = std::nanf("");
  });
  Scheduler scheduler(scenes(), graphs, {}, {});
  auto request = editing(inversion, {edit("a dog", 3.0)});
  expect_failure<BackendError>(*submit(scheduler, request));
}

// Protects what no edit acts on: its pixels are the inverted picture's, to the bit, however the
// picture was inverted, and whatever the networks make of the rest.
TEST(Editing, KeepsWhatNoEditActsOn) {
  for (const double eta : {1.0, 0.0}) {
    auto inverts = inverting("image");
    inverts.editing->settings.sampler = SamplerKind::ddim;
    inverts.editing->settings.eta = eta;
    const auto inversion = alone(inverts).inversion;
    ASSERT_EQ(inversion->visited.size(), 4 * inversion->latents.size());
    auto masked = edit("a dog", 9.0, 0.0);
    masked.mask = {64, 64, std::vector<std::uint8_t>(64 * 64, 0)};
    std::fill_n(masked.mask.data.begin(), 64 * 32, 1);
    auto request = editing(inversion, {masked});
    const auto kept = alone(request).image.data;
    request.editing->keep = false;
    const auto free = alone(request).image.data;
    const auto half = kept.size() / 2;
    const auto original = std::span(inversion->picture.data);
    EXPECT_TRUE(std::ranges::equal(std::span(kept).subspan(half), original.subspan(half)));
    EXPECT_FALSE(std::ranges::equal(std::span(free).subspan(half), original.subspan(half)));
    EXPECT_FALSE(std::ranges::equal(std::span(kept).first(half), original.first(half)));

    auto late = edit("a dog", 9.0, 0.9);  // no mask: what its threshold lets it act on
    late.warm_up = 2;
    const auto latents = decoded_latents(editing(inversion, {late}));
    const auto clean = std::span(inversion->visited).last(latents.size());
    std::size_t same = 0;
    for (std::size_t i = 0; i < latents.size(); ++i)
      same += latents[i] == clean[i] ? 1 : 0;
    EXPECT_GE(same, latents.size() * 7 / 10) << "two steps that act on a tenth each";
    EXPECT_LT(same, latents.size());
  }
}

// Protects a kept map: its labels are the inverted map's where no edit acts.
TEST(Editing, KeepsTheLabelsOfAMap) {
  auto inverts = inverting(map_factor);
  Pixels labels{32, 32, std::vector<std::uint8_t>(32 * 32, 3)};
  inverts.factors[map_factor].map = labels;
  const auto inversion = alone(inverts).inversion;
  auto masked = edit("a dog", 9.0, 0.0);
  masked.mask = {32, 32, std::vector<std::uint8_t>(32 * 32, 0)};
  std::fill_n(masked.mask.data.begin(), 32 * 16, 1);
  const auto map = alone(editing(inversion, {masked})).factors.at(map_factor).candidates.front();
  EXPECT_EQ(std::count(map.labels.data.begin() + 32 * 16, map.labels.data.end(), 3), 32 * 16);
  EXPECT_LT(std::count(map.labels.data.begin(), map.labels.data.end(), 3), 32 * 32);
}

TEST(Editing, RefusesWhatDoesNotFit) {
  const auto inversion = alone(inverting("image")).inversion;
  const auto of_map = alone(inverting(map_factor)).inversion;
  const auto refuses = [&](const std::string& expected, const auto& change) {
    auto request = editing(inversion, {edit("a dog", 3.0)});
    change(request);
    try {
      const auto resolved = resolve(request, scenes().manifest());
      check_inversion(resolved, scenes());
      read_texts(resolved, scenes());
      FAIL() << "expected: " << expected;
    } catch (const RequestError& error) {
      EXPECT_NE(std::string(error.what()).find(expected), std::string::npos) << error.what();
    }
  };
  refuses("edits has 0 entries", [](Request& r) { r.editing->edits.clear(); });
  refuses("edits has 9 entries",
          [](Request& r) { r.editing->edits.assign(9, edit("a dog", 1.0)); });
  refuses("prompt is empty", [](Request& r) { r.editing->edits[0].prompt = " "; });
  refuses("scale is -1", [](Request& r) { r.editing->edits[0].scale = -1.0; });
  refuses("threshold is 1.5", [](Request& r) { r.editing->edits[0].threshold = 1.5; });
  refuses("warm_up is 4, expected 0 to 3", [](Request& r) { r.editing->edits[0].warm_up = 4; });
  refuses("cool_down is 5, expected 1 to 4", [](Request& r) { r.editing->edits[0].cool_down = 5; });
  refuses("mask is 8 x 8",
          [](Request& r) { r.editing->edits[0].mask = {8, 8, std::vector<std::uint8_t>(64, 1)}; });
  refuses("marks no pixel", [](Request& r) {
    r.editing->edits[0].mask = {64, 64, std::vector<std::uint8_t>(64 * 64, 0)};
  });
  refuses("unicorn", [](Request& r) { r.editing->edits[0].region = "unicorn"; });
  refuses("give that height and width", [](Request& r) { r.height = r.width = 128; });
  refuses("sampler is set", [](Request& r) { r.sampler = SamplerKind::ddim; });
  refuses("strength is set", [](Request& r) { r.strength = 0.5; });
  refuses("image is given", [](Request& r) { r.image = picture(64); });
  refuses("only factors that are sampled from noise",
          [](Request& r) { r.joint = {map_factor, "image"}; });
  refuses("remainders of the inversion has", [&](Request& r) {
    auto other = *inversion;
    other.remainders.pop_back();
    r.editing->inversion = std::make_shared<const Inversion>(other);
  });
  refuses("visited of the inversion has", [&](Request& r) {
    auto other = *inversion;
    other.visited.clear();
    r.editing->inversion = std::make_shared<const Inversion>(other);
  });
  refuses("isn't finite", [&](Request& r) {
    auto other = *inversion;
    other.latents[3] = std::nanf("");
    r.editing->inversion = std::make_shared<const Inversion>(other);
  });
  refuses("was made with the bundle", [&](Request& r) {
    auto other = *inversion;
    other.bundle[0] = other.bundle[0] == '0' ? '1' : '0';
    r.editing->inversion = std::make_shared<const Inversion>(other);
  });
  refuses("prompt is empty", [&](Request& r) {  // by which the image is painted
    r = editing(of_map, {edit("a dog", 3.0)});
    r.prompt = "";
  });
  refuses("candidates is set", [&](Request& r) {
    r = editing(of_map, {edit("a dog", 3.0)});
    r.factors[map_factor].candidates = 2;
  });
  const auto inverts = [&](const auto& change) {
    return [&change](Request& r) {
      r = inverting("image");
      change(r);
    };
  };
  refuses("no image to invert", inverts([](Request& r) { r.image = {}; }));
  refuses("nothing that was inverted",
          inverts([](Request& r) { r.editing->edits = {edit("a dog", 1.0)}; }));
  // What is to follow an inversion is refused before it is made.
  const auto follows = [&](const auto& change) {
    return [&change](Request& r) {
      r = inverting("image");
      r.editing->following = {edit("a dog", 1.0), edit("a dog", 3.0)};
      change(r.editing->following.back());
    };
  };
  refuses("edits[1] scale is 101", follows([](Edit& one) { one.scale = 101.0; }));
  refuses("edits[1] threshold is -0.5", follows([](Edit& one) { one.threshold = -0.5; }));
  refuses("edits[1] warm_up is 4, expected 0 to 3", follows([](Edit& one) { one.warm_up = 4; }));
  refuses("edits[1] cool_down is 0, expected 1 to 4",
          follows([](Edit& one) { one.cool_down = 0; }));
  refuses("edits[1] mask is 8 x 8",
          follows([](Edit& one) { one.mask = {8, 8, std::vector<std::uint8_t>(64, 1)}; }));
  refuses("edits[1] region is \"unicorn\", which is no class of this map; it has: ",
          follows([](Edit& one) { one.region = "unicorn"; }));
  refuses("which this bundle hasn't",
          inverts([](Request& r) { r.editing->settings.factor = "smell"; }));
  refuses("\"euler\", expected",
          inverts([](Request& r) { r.editing->settings.sampler = SamplerKind::euler; }));
  refuses("eta is 0, expected", inverts([](Request& r) { r.editing->settings.eta = 0.0; }));
  refuses("skip is 1, expected", inverts([](Request& r) { r.editing->settings.skip = 1.0; }));
  refuses("leaves none", inverts([](Request& r) { r.editing->settings.skip = 0.95; }));
  refuses("num_inference_steps of the inversion is 1",
          inverts([](Request& r) { r.editing->settings.num_inference_steps = 1; }));
  refuses("noise of the inversion has 7",
          inverts([](Request& r) { r.editing->noise.assign(7, 0.0F); }));
  refuses("mask is set",
          inverts([](Request& r) { r.mask = {64, 64, std::vector<std::uint8_t>(64 * 64, 1)}; }));
}

// Protects an inversion from the edits that are to follow it: it is the same with them.
TEST(Editing, WhatFollowsChangesNoInversion) {
  auto request = inverting("image");
  const auto expected = alone(request).inversion;
  request.editing->following = {edit("a dog", 3.0), edit("a tree", 2.0)};
  auto graphs = fake_graphs(scenes().manifest());
  Scheduler scheduler(scenes(), graphs, {}, {});
  const auto job = submit(scheduler, request);
  ASSERT_TRUE(wait_for(*job));
  EXPECT_EQ(job->result.inversion->remainders, expected->remainders);
  EXPECT_EQ(scheduler.metrics().rows, 4) << "a row for each step";
}

// Protects that what a picture already is confines an edit.
TEST(Editing, ARegionIsWhereTheMapHasTheClass) {
  auto inverts = inverting(map_factor);
  Pixels labels{32, 32, std::vector<std::uint8_t>(32 * 32, 0)};
  std::fill_n(labels.data.begin(), 32 * 16, 3);
  inverts.factors[map_factor].map = labels;
  const auto inversion = alone(inverts).inversion;
  const auto& classes = scenes().palette(scenes().manifest().factors.front().palette).classes();
  const auto x0_of = [&](const Edit& one) {
    std::vector<float> found;
    auto graphs = fake_graphs(scenes().manifest());
    Scheduler scheduler(scenes(), graphs, {}, {});
    const auto job = submit(scheduler, editing(inversion, {one}), [&](const StepInfo& info) {
      if (info.factor == map_factor && info.step == 0)
        found.assign(info.predicted_x0.begin(), info.predicted_x0.end());
      return false;
    });
    EXPECT_TRUE(wait_for(*job));
    return found;
  };
  auto region = edit("a dog", 4.0, 0.0);
  region.region = classes[3].name;
  auto mask = edit("a dog", 4.0, 0.0);
  mask.mask = {32, 32, std::vector<std::uint8_t>(32 * 32, 0)};
  std::fill_n(mask.mask.data.begin(), 32 * 16, 1);
  EXPECT_EQ(x0_of(region), x0_of(mask));
  EXPECT_NE(x0_of(region), x0_of(edit("a dog", 4.0, 0.0)));
  region.region = classes[5].name;  // which is nowhere
  auto graphs = fake_graphs(scenes().manifest());
  Scheduler scheduler(scenes(), graphs, {}, {});
  expect_failure<RequestError>(*submit(scheduler, editing(inversion, {region})));
}

}  // namespace
}  // namespace fgdm
