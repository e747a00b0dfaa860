// The engine as a C++ program has it: the shipped bundle on the real runtime.
#include "fgdm/engine.hpp"

#include <algorithm>
#include <array>
#include <atomic>
#include <fstream>
#include <future>
#include <nlohmann/json.hpp>

#include "fake_sessions.hpp"
#include "fgdm/error.hpp"
#include "onnx_file.hpp"
#include "runtime_fixture.hpp"

namespace fgdm {
namespace {

using testing::cpu_options;
using testing::expect_words;
using testing::refusal;
using testing::with;
using namespace std::chrono_literals;

const auto bundle_folder = std::filesystem::path(FGDM_BUNDLES) / "scenes";

// Two maps of 32 x 32 and a picture of 64 x 64, in four steps.
Request small(std::uint64_t seed) {
  Request request;
  request.prompt = "two dogs beside a house";
  request.seed = seed;
  request.candidates = 2;
  request.condition_steps = 2;
  request.num_inference_steps = 2;
  request.height = request.width = 64;
  request.stop_at_recall = 0.0;
  return request;
}

// Steps as they come are held up until the test has looked.
class Gate {
public:
  StepCallback callback() {
    return [this](const StepInfo&) {
      if (!reached_.exchange(true))
        first_.set_value();
      opened_.wait();
      return false;
    };
  }
  void wait() { ASSERT_EQ(first_.get_future().wait_for(60s), std::future_status::ready); }
  void open() { open_.set_value(); }

private:
  std::atomic<bool> reached_{false};
  std::promise<void> first_, open_;
  std::shared_future<void> opened_ = open_.get_future().share();
};

// Tests in one process share an engine until one of them closes it: under sanitizers a runtime
// takes seconds to open a graph.
class EngineTest : public testing::RuntimeTest {
protected:
  static void TearDownTestSuite() { engine_.reset(); }
  void SetUp() override {
    testing::RuntimeTest::SetUp();
    if (!IsSkipped() && !engine_)
      open(cpu_options());
  }
  static void open(const EngineOptions& with) {
    engine_ = std::make_unique<Engine>(bundle_folder, with);
  }

  static inline std::unique_ptr<Engine> engine_;
};

// Tests that count, or choose their engine's options, have one of their own.
class OwnEngineTest : public EngineTest {
protected:
  void SetUp() override { testing::RuntimeTest::SetUp(); }
  void TearDown() override { engine_.reset(); }
};

TEST_F(EngineTest, AMapCallbackSeesEveryMapAndCanStop) {
  auto request = small(1);
  request.condition_steps = 4;
  request.prune = {2};
  std::vector<std::tuple<int, int, bool>> seen;
  std::vector<std::uint8_t> chosen;
  const auto result = engine_->generate(request, {}, [&](const MapInfo& map) {
    EXPECT_EQ(map.factor, "segmentation");
    EXPECT_EQ(map.num_steps, 4);
    EXPECT_EQ(map.seed, 1U);
    seen.emplace_back(map.candidate.index, map.candidate.steps, map.chosen);
    chosen = map.candidate.map.data;
    return false;
  });
  const int best = result.candidates[static_cast<std::size_t>(result.chosen)].index;
  EXPECT_EQ(seen, (std::vector<std::tuple<int, int, bool>>{
                      {0, 2, false}, {1, 2, false}, {best, 4, false}, {best, 4, true}}));
  EXPECT_EQ(chosen, result.candidates[static_cast<std::size_t>(result.chosen)].map.data);
  EXPECT_THROW(engine_->generate(request, {}, [](const MapInfo& map) { return map.chosen; }),
               CancelledError);
}

TEST_F(OwnEngineTest, BatchesAreCountedByTheirRows) {
  open(cpu_options());
  engine_->generate(small(1));
  const auto metrics = engine_->metrics();
  // Two candidates of two rows in two steps, then the image's two steps.
  EXPECT_EQ(metrics.batches_of_rows, (std::map<int, std::int64_t>{{2, 2}, {4, 2}}));
  EXPECT_EQ(metrics.waiting_rows, 0);
}

TEST_F(EngineTest, WhatWaitsIsCountedInRows) {
  Gate gate;
  const auto first = engine_->submit(small(1), gate.callback());
  gate.wait();
  std::vector<Job> queued;
  auto image_only = small(2);
  image_only.factors["segmentation"].left_out = true;
  queued.push_back(engine_->submit(small(3)));
  queued.push_back(engine_->submit(image_only));
  // Four of each request with maps, and two of a picture alone.
  EXPECT_EQ(engine_->metrics().waiting_rows, 4 + 4 + 2);
  gate.open();
  for (const auto& job : queued)
    job.result();
  first.result();
  EXPECT_EQ(engine_->metrics().waiting_rows, 0);
}

TEST_F(EngineTest, OneSeedMakesOnePicture) {
  const auto first = engine_->generate(small(1)), second = engine_->generate(small(1));
  EXPECT_EQ(first.image.width, 64);
  EXPECT_EQ(first.image.height, 64);
  EXPECT_EQ(first.image.data.size(), 64U * 64U * 3U);
  EXPECT_EQ(first.requested, (std::vector<std::string>{"dog", "house"}));
  ASSERT_EQ(first.candidates.size(), 2U);
  EXPECT_EQ(first.candidates[0].labels.data.size(), 32U * 32U);
  EXPECT_EQ(first.map_rows, 2 * 2 * 2) << "candidates, steps, rows of guidance";
  EXPECT_EQ(first.image.data, second.image.data);
  for (std::size_t i = 0; i < 2; ++i)
    EXPECT_EQ(first.candidates[i].map.data, second.candidates[i].map.data);
  EXPECT_NE(first.image.data, engine_->generate(small(2)).image.data);
}

TEST_F(EngineTest, AnEngineOpenedAgainMakesTheSame) {
  const auto first = engine_->generate(small(1));
  open(cpu_options());
  EXPECT_EQ(first.image.data, engine_->generate(small(1)).image.data);
}

TEST_F(EngineTest, ASeedThatWasDrawnIsTold) {
  auto request = small(0);
  request.seed.reset();
  const auto drawn = engine_->generate(request), again = engine_->generate(request);
  EXPECT_NE(drawn.seed, again.seed);
  EXPECT_EQ(drawn.request.seed, drawn.seed);
  EXPECT_EQ(drawn.image.data, engine_->generate(small(drawn.seed)).image.data);
}

TEST_F(EngineTest, SaysWhatItIs) {
  EXPECT_EQ(engine_->backend(), "cpu");
  EXPECT_EQ(engine_->precision(), "fp32");
  EXPECT_TRUE(engine_->runtime().starts_with("onnxruntime 1.")) << engine_->runtime();
  EXPECT_GT(engine_->load_seconds(), 0);
  EXPECT_EQ(nlohmann::json::parse(engine_->manifest_json())["name"], "scenes");
  expect_words(engine_->profile_key(), {"cpu fp32 onnxruntime 1.", " 1 threads "});
  EXPECT_EQ(engine_->trace_problem(), "");
}

TEST_F(EngineTest, TheCallbackSeesEveryStepOfEachFactor) {
  std::vector<std::string> steps;
  engine_->generate(small(1), [&](const StepInfo& step) {
    steps.push_back(step.factor + " " + std::to_string(step.step) + "/" +
                    std::to_string(step.num_steps));
    const bool is_map = step.factor == "segmentation";
    const auto rows = step.candidates.size();
    EXPECT_EQ(rows, is_map ? 2U : 1U);
    EXPECT_EQ(step.channels, 4);
    EXPECT_EQ(step.height, is_map ? 8 : 16);
    EXPECT_EQ(step.predicted_x0.size(),
              rows * 4U * static_cast<std::size_t>(step.height * step.width));
    const auto preview = step.preview(step.candidates.front());
    EXPECT_EQ(preview.width, is_map ? 32 : 64);
    EXPECT_EQ(preview.data.size(), static_cast<std::size_t>(preview.width * preview.height * 3));
    EXPECT_THROW(step.preview(7), RequestError);
    return false;
  });
  EXPECT_EQ(steps, (std::vector<std::string>{"segmentation 0/2", "segmentation 1/2", "image 0/2",
                                             "image 1/2"}));
}

TEST_F(EngineTest, TheCallbackCanStopItsRequestAndNoOther) {
  int steps = 0;
  const auto stopped = engine_->submit(small(1), [&](const StepInfo&) { return ++steps == 2; });
  const auto other = engine_->submit(small(2));
  EXPECT_THROW(stopped.result(), CancelledError);
  EXPECT_EQ(steps, 2);
  EXPECT_EQ(other.result().image.width, 64);
}

TEST_F(EngineTest, WhatACallbackThrowsIsTheResult) {
  const auto throwing = [](const StepInfo&) -> bool { throw std::domain_error("mine"); };
  EXPECT_EQ(refusal<std::domain_error>([&] { engine_->generate(small(1), throwing); }), "mine");
  EXPECT_NO_THROW(engine_->generate(small(1)));
}

TEST_F(EngineTest, ACallbackCannotWaitForItsOwnEngine) {
  std::string told;
  engine_->generate(small(1), [&](const StepInfo& step) {
    if (step.step == 0 && step.factor == "image")
      told = refusal<RequestError>([&] { engine_->generate(small(2)); });
    return false;
  });
  expect_words(told, {"generate() in a callback", "use submit()"});
}

TEST_F(EngineTest, AJobIsAFuture) {
  Gate gate;
  const auto job = engine_->submit(small(1), gate.callback());
  gate.wait();
  EXPECT_FALSE(job.done());
  EXPECT_FALSE(job.wait(10ms));
  std::promise<void> told;
  job.when_done([&] { told.set_value(); });
  gate.open();
  EXPECT_TRUE(job.wait(60s));
  EXPECT_TRUE(job.done());
  EXPECT_EQ(told.get_future().wait_for(60s), std::future_status::ready);
  job.cancel();  // nothing is left to cancel
  EXPECT_EQ(job.result().image.width, 64);
  bool at_once = false;
  job.when_done([&] { at_once = true; });
  EXPECT_TRUE(at_once);
}

TEST_F(OwnEngineTest, ACancelledJobSaysSo) {
  open(cpu_options());
  Gate gate;
  const auto job = engine_->submit(small(1), gate.callback());
  const auto waiting = engine_->submit(small(2));
  gate.wait();
  job.cancel();
  waiting.cancel();
  gate.open();
  EXPECT_THROW(job.result(), CancelledError);
  EXPECT_THROW(waiting.result(), CancelledError);
  EXPECT_EQ(engine_->metrics().cancelled, 2);
  EXPECT_EQ(engine_->metrics().finished, 0);
}

TEST_F(EngineTest, ADeadlineEndsWhatIsLate) {
  auto late = small(1), early = small(2);
  late.deadline = 0.05;
  early.deadline = 600;
  const auto slow = [](const StepInfo&) {
    std::this_thread::sleep_for(60ms);
    return false;
  };
  EXPECT_THROW(engine_->generate(late, slow), DeadlineError);
  EXPECT_NO_THROW(engine_->generate(early));
}

TEST_F(OwnEngineTest, AFullQueueRefuses) {
  auto narrow = cpu_options();
  narrow.max_queue = narrow.max_active = 1;
  open(narrow);
  Gate gate;
  const auto active = engine_->submit(small(1), gate.callback());
  gate.wait();
  const auto queued = engine_->submit(small(2));
  EXPECT_THROW(engine_->submit(small(3)), QueueFullError);
  gate.open();
  EXPECT_NO_THROW(active.result());
  EXPECT_NO_THROW(queued.result());
  const auto metrics = engine_->metrics();
  EXPECT_EQ(metrics.accepted, 2);
  EXPECT_EQ(metrics.refused, 1);
  EXPECT_EQ(metrics.finished, 2);
  EXPECT_GT(metrics.session_seconds.at("backbone"), 0);
}

TEST_F(OwnEngineTest, AWrongRequestIsRefusedBeforeItIsQueued) {
  open(cpu_options());
  auto request = small(1);
  request.candidates = 0;
  expect_words(refusal<RequestError>([&] { engine_->submit(request); }), {"candidates is 0"});
  request = small(1);
  request.width = 65;
  EXPECT_THROW(engine_->submit(request), RequestError);
  EXPECT_EQ(engine_->metrics().accepted, 0);
}

TEST_F(OwnEngineTest, ClosingCancelsWhatIsInFlight) {
  open(cpu_options());
  Gate gate;
  const auto active = engine_->submit(small(1), gate.callback());
  const auto queued = engine_->submit(small(2));
  gate.wait();
  auto closing = std::async(std::launch::async, [&] { engine_->close(); });
  EXPECT_EQ(closing.wait_for(50ms), std::future_status::timeout) << "it waits for the step";
  gate.open();
  closing.get();
  EXPECT_TRUE(active.done() && queued.done());
  EXPECT_THROW(active.result(), CancelledError);
  EXPECT_THROW(queued.result(), CancelledError);
  EXPECT_THROW(engine_->submit(small(3)), RequestError);
  EXPECT_NO_THROW(engine_->close());
}

TEST_F(OwnEngineTest, JobsOutliveTheirEngine) {
  open(cpu_options());
  Gate gate;
  const auto done = engine_->submit(small(1));
  EXPECT_TRUE(done.wait(60s));
  const auto active = engine_->submit(small(2), gate.callback());
  gate.wait();
  gate.open();
  engine_.reset();
  EXPECT_TRUE(active.done());
  EXPECT_EQ(done.result().image.width, 64);
}

TEST_F(OwnEngineTest, ACallbackMayDestroyItsEngine) {
  open(cpu_options());
  const auto job = engine_->submit(small(1), [&](const StepInfo&) {
    engine_.reset();
    return false;
  });
  EXPECT_TRUE(job.wait(60s));
  Engine::finish_closing();
  EXPECT_THROW(job.result(), CancelledError);
}

TEST_F(OwnEngineTest, WritesATimelineWhenItIsDestroyed) {
  const testing::TempFolder folder;
  const auto file = folder / "trace.json";
  open(with(&EngineOptions::trace, file));
  engine_->generate(small(1));
  engine_.reset();
  std::ifstream stream(file);
  const auto events = nlohmann::json::parse(stream);
  EXPECT_TRUE(std::ranges::any_of(
      events, [](const auto& event) { return event.value("name", "") == "backbone"; }));
}

TEST_F(EngineTest, MeasuresBatchesOfEachFactor) {
  const std::array rows{1, 3};
  const auto times = engine_->measure_batches(rows, 1, 64, 64);
  ASSERT_EQ(times.size(), 3U);
  EXPECT_EQ(times[0].latent_height, 8);
  EXPECT_EQ(times[1].latent_width, 16);
  EXPECT_EQ(times[1].backbone, "");
  EXPECT_EQ(times[2].backbone, "backbone_shallow_1") << "of the image, which caches by itself";
  for (const auto& measured : times) {
    ASSERT_EQ(measured.seconds.size(), 2U);
    EXPECT_GT(measured.seconds.at(3), 0);
  }
  EXPECT_THROW(engine_->measure_batches(std::array{33}, 1), RequestError) << "max_batch_rows is 32";
  EXPECT_THROW(engine_->measure_batches(rows, 0), RequestError);
  EXPECT_THROW(engine_->measure_batches(rows, 1, 65, 64), RequestError);
}

// The shipped bundle with graphs that open in a millisecond.
class EngineRefuses : public testing::RuntimeTest {
protected:
  EngineRefuses() {
    add_models(folder_, testing::scenes().manifest());
    folder_.save(folder_.manifest().dump());
  }

  template <typename E> std::string told(const EngineOptions& options = cpu_options()) {
    return refusal<E>([&] { Engine(folder_.path(), options); });
  }

  testing::BundleFolder folder_;
};

TEST_F(EngineRefuses, WhatDoesNotFitTogether) {
  EXPECT_NO_THROW(Engine(folder_.path(), cpu_options()));
  expect_words(told<RequestError>(with(&EngineOptions::backend, "tpu")), {"backend is \"tpu\""});
  expect_words(told<RequestError>(with(&EngineOptions::policy, "haste")), {"policy is \"haste\""});
  for (const std::uintptr_t own : {1U, 2U})
    expect_words(told<RequestError>(with(&EngineOptions::stream, reinterpret_cast<void*>(own))),
                 {"CUDA's default stream"});
  int stream = 0;
  auto streamed = cpu_options();
  streamed.stream = &stream;
  expect_words(told<RequestError>(streamed), {"stream is a CUDA stream", "backend is \"cpu\""});
  expect_words(told<RequestError>(with(&EngineOptions::profile, "/absent.json")),
               {"/absent.json", "no file"});
}

TEST_F(EngineRefuses, AGraphThatIsNotTheManifests) {
  auto spec = testing::scenes().manifest().graph("backbone");
  spec.inputs[0].name = "other";
  folder_.add(spec.file, testing::onnx_model(spec));
  folder_.save(folder_.manifest().dump());
  expect_words(told<BundleError>(), {"backbone.onnx has the input \"other\""});
}

TEST_F(EngineRefuses, ABundleThatIsDamaged) {
  std::ofstream(folder_.path() / "backbone.onnx", std::ios::app) << 'x';
  expect_words(told<BundleError>(), {"backbone.onnx"});
}

// What is wrong without a runtime is told where there is none.
TEST(EngineOptions, AreCheckedFirst) {
  const auto told = [](const EngineOptions& wrong) {
    return refusal<RequestError>([&] { Engine("/absent", wrong); });
  };
  expect_words(told(with(&EngineOptions::threads, -1)), {"threads is -1", "expected 0 to "});
  expect_words(told(with(&EngineOptions::threads, 1025)), {"threads is 1025"});
  expect_words(told(with(&EngineOptions::max_batch_rows, 1)), {"max_batch_rows is 1", "2 or more"});
  expect_words(told(with(&EngineOptions::max_queue, 0)), {"max_queue is 0", "1 or more"});
  expect_words(told(with(&EngineOptions::max_active, 0)), {"max_active is 0"});
}

TEST(EngineBundle, ThatIsAbsentIsABundleError) {
  EXPECT_THROW(Engine("/absent", cpu_options()), BundleError);
}

TEST(EngineLibrary, ThatIsAbsentIsABackendError) {
  const auto absent = with(&EngineOptions::library, "/absent/libonnxruntime.so");
  expect_words(refusal<BackendError>([&] { Engine(bundle_folder, absent); }),
               {"/absent/libonnxruntime.so"});
}

}  // namespace
}  // namespace fgdm
