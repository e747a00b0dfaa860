// DeepCache over fake graphs: which steps go through the outer levels alone, and what they are
// given of the step before them.
#include <algorithm>
#include <map>
#include <string>
#include <vector>

#include "batch_times.hpp"
#include "recorded.hpp"

namespace fgdm::cache_test {
namespace {

using testing::alone;
using testing::fake_graphs;
using testing::Recorded;
using testing::scenes;
using testing::small_request;
using testing::submit;
using testing::wait_for;

using Rows = std::vector<std::vector<float>>;

constexpr int steps = 6;

Request cached_request(std::uint64_t seed, int interval, int level = 1) {
  auto request = small_request(seed, 2);
  request.num_inference_steps = steps;
  request.guidance = GuidanceKind::cfg;
  request.cache_interval = interval;
  request.cache_level = level;
  return request;
}

// A call of a backbone for the image: its graph, and its tensors by name.
struct BackboneCall {
  std::string graph;
  std::map<std::string, Rows> tensors;
};

// Runs a request alone, and keeps what backbones took and made at the image's size.
std::vector<BackboneCall> image_calls(Request request) {
  const auto& manifest = scenes().manifest();
  std::vector<BackboneCall> calls;
  auto graphs = fake_graphs(manifest, [&](const std::string& graph, auto inputs, auto outputs) {
    if (!graph.starts_with("backbone") || inputs[0].tensor.shape[2] != 16)
      return;
    BackboneCall call{graph, {}};
    for (const auto& tensors : {inputs, outputs})
      for (const auto& [name, tensor] : tensors)
        if (tensor.dtype == DType::float32)
          call.tensors.emplace(name, testing::rows_of(tensor));
    calls.push_back(std::move(call));
  });
  Scheduler scheduler(scenes(), graphs, {}, {});
  EXPECT_TRUE(wait_for(*submit(scheduler, std::move(request))));
  return calls;
}

std::vector<std::string> graphs_of(const std::vector<BackboneCall>& calls) {
  std::vector<std::string> graphs;
  for (const auto& call : calls)
    graphs.push_back(call.graph);
  return graphs;
}

TEST(Cache, EveryStepButOneOfSoManyIsShallow) {
  const std::string whole = "backbone", one = "backbone_shallow_1", two = "backbone_shallow_2";
  EXPECT_EQ(graphs_of(image_calls(cached_request(1, 1))), std::vector<std::string>(steps, whole));
  EXPECT_EQ(graphs_of(image_calls(cached_request(1, 2))),
            (std::vector{whole, one, whole, one, whole, one}));
  EXPECT_EQ(graphs_of(image_calls(cached_request(1, 4, 2))),
            (std::vector{whole, two, two, two, whole, two}));
}

// Where the negative branch becomes another, or there is no guidance any more, nothing that was
// kept fits.
TEST(Cache, AChangeOfGuidanceTakesTheWholeBackbone) {
  const std::string whole = "backbone", one = "backbone_shallow_1";
  auto request = cached_request(1, 6);
  request.guidance = GuidanceKind::segfree;
  request.segfree_start = 0.5;
  EXPECT_EQ(graphs_of(image_calls(request)), (std::vector{whole, one, one, whole, one, one}));
  request = cached_request(1, 6);
  request.guidance_interval = {0.0, 0.5};
  EXPECT_EQ(graphs_of(image_calls(request)), (std::vector{whole, one, one, whole, one, one}));
}

// A picture that is noised to a strength begins later, and its first step goes through all.
TEST(Cache, CountsFromTheFirstStepThatIsTaken) {
  auto request = cached_request(1, 2);
  request.image = {64, 64, std::vector<std::uint8_t>(64UL * 64 * 3, 100)};
  request.strength = 0.5;
  EXPECT_EQ(graphs_of(image_calls(request)),
            (std::vector<std::string>{"backbone", "backbone_shallow_1", "backbone"}));
}

// Deep features are those that the backbone made, and residuals those that the ControlNet gave it,
// row by row; latents and timesteps are the step's own.
TEST(Cache, AShallowStepIsGivenWhatTheWholeOneKept) {
  for (const int level : {1, 2}) {
    SCOPED_TRACE(level);
    const auto calls = image_calls(cached_request(1, 3, level));
    ASSERT_EQ(calls.size(), steps);
    for (const int step : {1, 2, 4, 5}) {
      SCOPED_TRACE(step);
      const auto& shallow = calls[static_cast<std::size_t>(step)].tensors;
      const auto& whole = calls[static_cast<std::size_t>(step / 3 * 3)].tensors;
      const auto& before = calls[static_cast<std::size_t>(step) - 1].tensors;
      int residuals = 0;
      for (const auto& [name, rows] : shallow) {
        const bool is_residual = name.find("_residual_") != std::string::npos;
        if (is_residual || name.starts_with("deep_features_")) {
          EXPECT_EQ(rows, whole.at(name)) << name;
        }
        residuals += is_residual ? 1 : 0;
      }
      EXPECT_EQ(residuals, 3 * level);
      EXPECT_TRUE(shallow.contains(deep_features(level)));
      const auto& features = shallow.at(deep_features(level));
      ASSERT_EQ(features.size(), 2U);
      EXPECT_NE(features[0], features[1]) << "of the positive and the negative row";
      EXPECT_NE(shallow.at("sample"), before.at("sample"));
      EXPECT_LT(shallow.at("timestep"), before.at("timestep"));
    }
  }
}

TEST(Cache, NetworksRunInWholeStepsOnly) {
  const Recorded plain(cached_request(1, 1), scenes()), cached(cached_request(1, 2), scenes());
  EXPECT_EQ(plain.of("controlnet_segmentation").size(), steps);
  EXPECT_EQ(cached.of("controlnet_segmentation").size(), steps / 2);
  // Maps cache nothing unless it is said of their factor.
  auto request = cached_request(1, 2);
  request.factors["segmentation"].cache_interval = 2;
  const Recorded maps(request, scenes());
  EXPECT_EQ(cached.of("adapter_segmentation").size(), 4U);
  EXPECT_EQ(maps.of("adapter_segmentation").size(), 2U);
  EXPECT_EQ(maps.of("backbone_shallow_1").size(), 2U + steps / 2);
}

TEST(Cache, CompanyChangesNothing) {
  std::vector<Request> requests;
  for (int i = 0; i < 6; ++i) {
    auto request = cached_request(10 + static_cast<std::uint64_t>(i), 1 + i % 3, 1 + i % 2);
    if (i % 2 == 0)
      request.guidance = GuidanceKind::segfree;
    if (i > 2)
      request.factors["segmentation"].cache_interval = 2;
    requests.push_back(request);
  }
  const auto metrics = testing::expect_company_changes_nothing(requests);
  EXPECT_GT(metrics.batches, 0);
}

// A batch that lacks memory is run again in halves, over what was kept before.
TEST(Cache, AFailedStepIsTakenAgain) {
  auto request = cached_request(3, 2);
  request.factors["segmentation"].cache_interval = 2;
  int failures = 0;
  auto graphs = fake_graphs(scenes().manifest(), [&](const std::string& graph, auto, auto outputs) {
    const bool is_both_maps = outputs[0].tensor.shape[0] == 4;
    if (graph == "backbone_shallow_1" && is_both_maps && failures++ < 2)
      throw OutOfMemoryError("a test");
  });
  Scheduler scheduler(scenes(), graphs, {}, {});
  const auto job = submit(scheduler, request);
  ASSERT_TRUE(wait_for(*job));
  EXPECT_GE(failures, 2);
  testing::expect_equal(job->result, alone(request));
}

template <typename Refused> void expect_refused(const Request& request, const Refused& words) {
  try {
    resolve(request, scenes().manifest());
    FAIL() << "was taken";
  } catch (const RequestError& error) {
    EXPECT_NE(std::string(error.what()).find(words), std::string::npos) << error.what();
  }
}

TEST(Cache, WrongOptionsAreNamed) {
  expect_refused(cached_request(1, 0), "cache_interval is 0, expected 1 to 1000");
  expect_refused(cached_request(1, 2, 3), "shallow backbones of 1 to 2 levels");
  auto request = cached_request(1, 1);
  request.factors["segmentation"].cache_interval = 2;
  request.factors["segmentation"].cache_level = 9;
  expect_refused(request, "factors[\"segmentation\"] cache_interval is 2");
  const auto resolved = resolve(cached_request(1, 2, 2), scenes().manifest());
  EXPECT_EQ(*resolved.cache_interval, 2);
  EXPECT_EQ(*resolved.factors.at("segmentation").cache_interval, 1);
}

}  // namespace
}  // namespace fgdm::cache_test
