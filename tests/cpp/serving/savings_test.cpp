// Spending less on maps that cannot win: what is dropped, set aside and never begun, and that the
// rows are booked.
#include "scheduler_fixture.hpp"

namespace fgdm {
namespace {

using testing::fake_graphs;
using testing::scenes;
using testing::small_request;
using testing::submit;
using testing::wait_for;

TEST(Savings, PruningKeepsTheBetterHalfAndSavesTheirRows) {
  auto graphs = fake_graphs(scenes().manifest());
  Scheduler scheduler(scenes(), graphs, {}, {});
  auto request = small_request(1, 8);
  request.prune = {1, 2};
  const auto job = submit(scheduler, request);
  ASSERT_TRUE(wait_for(*job));
  const auto& result = job->result;
  ASSERT_EQ(result.candidates.size(), 8U);
  std::map<int, int> sampled;
  for (std::size_t i = 0; i < 8; ++i) {
    const auto& candidate = result.candidates[i];
    EXPECT_EQ(candidate.index, static_cast<int>(i));
    EXPECT_EQ(candidate.pruned, candidate.steps < 4);
    EXPECT_FALSE(candidate.labels.data.empty());
    ++sampled[candidate.steps];
  }
  EXPECT_EQ(sampled, (std::map<int, int>{{1, 4}, {2, 2}, {4, 2}}));
  EXPECT_EQ(result.map_rows, 2 * (4 * 1 + 2 * 2 + 2 * 4));
  EXPECT_EQ(scheduler.metrics().rows_saved, 2 * (4 * 3 + 2 * 2));
  EXPECT_FALSE(result.candidates[static_cast<std::size_t>(result.chosen)].pruned);
}

TEST(Savings, WhereNothingIsAskedForOneMapIsEnough) {
  auto graphs = fake_graphs(scenes().manifest());
  Scheduler scheduler(scenes(), graphs, {}, {});
  auto request = small_request(1, 6);
  request.objects = std::vector<std::string>{};  // nothing is asked for, so every map has it
  request.condition_steps = 10;
  request.stop_at_recall = 1.0;
  const auto job = submit(scheduler, request);
  ASSERT_TRUE(wait_for(*job));
  EXPECT_EQ(job->result.map_rows, 2 * 10);
  EXPECT_EQ(job->result.candidates.size(), 1U);
  EXPECT_EQ(scheduler.metrics().rows_saved, 2 * 5 * 10);
}

// A decoder that shows one class everywhere, whatever it is given: a call with several rows, which
// is a preview, `of_many`, and one with a single row `of_one`.
class OneClass final : public Session {
public:
  OneClass(std::string of_many, std::string of_one)
      : of_many_(std::move(of_many)), of_one_(std::move(of_one)) {}

  std::span<const TensorSpec> inputs() const override { return {}; }
  std::span<const TensorSpec> outputs() const override { return {}; }

  void run(std::span<const NamedTensor>, std::span<const NamedTensor> outputs) override {
    const auto& image = outputs.front().tensor;
    const auto rows = static_cast<std::size_t>(image.shape.front());
    const auto& palette = scenes().palette("palette.json");
    const auto label = palette.find(rows > 1 ? of_many_ : of_one_).value();
    const auto& color = palette.classes()[static_cast<std::size_t>(label)].color;
    const auto plane = image.elements() / (3 * rows);
    for (std::size_t i = 0; i < image.elements(); ++i)
      static_cast<float*>(image.data)[i] = static_cast<float>(color[i / plane % 3]) / 127.5F - 1.0F;
  }

private:
  std::string of_many_, of_one_;
};

Result with_decoder(std::string of_many, std::string of_one, const Request& request) {
  Graphs::Sessions sessions;
  for (const auto& [name, spec] : scenes().manifest().graphs)
    sessions[name] = std::make_unique<testing::FakeSession>(spec, nullptr);
  sessions[scenes().manifest().vae_decoder] =
      std::make_unique<OneClass>(std::move(of_many), std::move(of_one));
  Graphs graphs(std::move(sessions));
  Scheduler scheduler(scenes(), graphs, {}, {});
  const auto job = submit(scheduler, request);
  EXPECT_TRUE(wait_for(*job));
  return job->result;
}

TEST(Savings, CandidatesSetAsideGoOnIfTheWinnersMapDisappoints) {
  auto request = small_request(1, 3);
  request.objects = {"dog"};
  request.condition_steps = 10;
  request.stop_at_recall = 1.0;
  request.wave = 0;  // all at once, whatever the bundle does

  const auto kept = with_decoder("dog", "dog", request);
  EXPECT_EQ(kept.map_rows, 2 * (2 * 4 + 10));
  EXPECT_EQ(kept.chosen, 0);
  EXPECT_TRUE(kept.candidates[1].pruned && kept.candidates[2].pruned);

  request.wave = 2;
  const auto waves = with_decoder("dog", "dog", request);
  EXPECT_EQ(waves.candidates.size(), 2U) << "the first wave has a winner";
  EXPECT_EQ(waves.map_rows, 2 * (4 + 10));
  request.wave = 0;

  // 0 looks like a winner after 4 steps, 1 after 6; 2 is the last and goes on by itself.
  const auto broken = with_decoder("dog", "house", request);
  EXPECT_EQ(broken.map_rows, 2 * 3 * 10);
  for (const auto& candidate : broken.candidates) {
    EXPECT_FALSE(candidate.pruned);
    EXPECT_EQ(candidate.steps, 10);
    EXPECT_EQ(candidate.recall, 0.0);
  }
}

TEST(Savings, WavesGoOnUntilTheBudgetIsSpent) {
  auto graphs = fake_graphs(scenes().manifest());
  Scheduler scheduler(scenes(), graphs, {}, {});
  auto request = small_request(1, 5);
  request.objects = {"dog", "kite", "boat", "bench"};  // the fakes' stripes hold no such thing
  request.min_area = 1.0;
  request.stop_at_recall = 1.0;
  request.wave = 2;
  const auto job = submit(scheduler, request);
  ASSERT_TRUE(wait_for(*job));
  EXPECT_EQ(job->result.candidates.size(), 5U);
}

TEST(Savings, StepsOutsideTheGuidanceIntervalTakeOneRow) {
  auto graphs = fake_graphs(scenes().manifest());
  Scheduler scheduler(scenes(), graphs, {}, {});
  auto request = small_request(1, 2);
  request.condition_guidance_interval = {0.25, 0.75};
  const auto job = submit(scheduler, request);
  ASSERT_TRUE(wait_for(*job));
  EXPECT_EQ(job->result.map_rows, 2 * (1 + 2 + 2 + 1));
}

}  // namespace
}  // namespace fgdm
