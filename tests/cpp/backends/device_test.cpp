// Where rows lie changes nothing: the host's memory, or a device's that the host cannot touch.
#include "scheduler_fixture.hpp"

namespace fgdm {
namespace {

using testing::expect_equal;
using testing::fake_graphs;
using testing::scenes;
using testing::small_request;
using testing::submit;
using testing::wait_for;

// Requests that between them use all that happens between graphs.
std::vector<Request> requests_of_all_kinds() {
  auto pruned = small_request(1, 6);
  pruned.prune = {1, 2};
  auto solver = small_request(2, 2);
  solver.sampler = SamplerKind::dpmsolver_multistep;
  solver.guidance_interval = {0.25, 0.75};
  auto plain = small_request(3, 2);
  plain.guidance = GuidanceKind::cfg;
  plain.stop_at_recall = 0.5;
  plain.wave = 1;
  auto given = small_request(4, 2);
  given.latents.assign(4 * 16 * 16, 0.25F);
  given.condition_latents.assign(2 * 4 * 8 * 8, -0.25F);
  return {pruned, solver, plain, given};
}

TEST(Device, ADeviceThatTheHostCannotTouchMakesTheSame) {
  const auto device = std::make_shared<testing::FarDevice>();
  auto near_graphs = fake_graphs(scenes().manifest());
  auto far_graphs = fake_graphs(scenes().manifest(), {}, {}, device);
  std::vector<std::vector<float>> seen[2];
  {
    Scheduler near(scenes(), near_graphs, {}, {}), far(scenes(), far_graphs, {}, {});
    for (const auto& request : requests_of_all_kinds()) {
      std::vector<std::shared_ptr<JobState>> jobs;
      for (auto* scheduler : {&near, &far}) {
        auto& steps = seen[scheduler == &far];
        jobs.push_back(submit(*scheduler, request, [&](const StepInfo& info) {
          steps.emplace_back(info.predicted_x0.begin(), info.predicted_x0.end());
          EXPECT_FALSE(info.preview(info.candidates.front()).data.empty());
          return false;
        }));
        ASSERT_TRUE(wait_for(*jobs.back()));
      }
      expect_equal(jobs[1]->result, jobs[0]->result);
    }
    EXPECT_EQ(seen[0], seen[1]);
  }
  EXPECT_EQ(device->bytes(), 0U) << "nothing leaks";
}

TEST(Device, WithoutACallbackOnlyPicturesAndNewTextsLeaveTheDevice) {
  const auto device = std::make_shared<testing::FarDevice>();
  auto graphs = fake_graphs(scenes().manifest(), {}, {}, device);
  Scheduler scheduler(scenes(), graphs, {}, {});
  ASSERT_TRUE(wait_for(*submit(scheduler, small_request(1, 4))));
  EXPECT_EQ(device->downloads, 1 + 4 + 1) << "the picture; maps, to see that they are finite "
                                             "(labels have a way of their own); texts";
  ASSERT_TRUE(wait_for(*submit(scheduler, small_request(1, 4))));
  EXPECT_EQ(device->downloads, 6 + 1 + 4) << "texts are looked at when they are encoded";
}

TEST(Device, BuffersOfSizesThatWereUsedLongAgoAreGivenBack) {
  const auto device = std::make_shared<testing::FarDevice>();
  auto graphs = fake_graphs(scenes().manifest(), {}, {}, device);
  Scheduler scheduler(scenes(), graphs, {}, {});
  std::size_t with_the_large_one = 0;
  for (const int size : {256, 64, 96, 160}) {
    auto request = small_request(1, 1);
    request.height = request.width = size;
    ASSERT_TRUE(wait_for(*submit(scheduler, request)));
    if (size == 256)
      scheduler.perform([&] { with_the_large_one = device->bytes(); });
  }
  scheduler.perform([&] { EXPECT_LT(device->bytes(), with_the_large_one); });
}

}  // namespace
}  // namespace fgdm
