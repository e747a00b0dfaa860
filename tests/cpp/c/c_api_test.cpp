// The C API as another language calls it: the shipped bundle on the real runtime.
#include "fgdm/fgdm.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <cstring>
#include <future>
#include <nlohmann/json.hpp>
#include <thread>
#include <vector>

#include "c_api_fixture.hpp"
#include "fgdm/engine.hpp"
#include "fgdm/version.hpp"
#include "zip_file.hpp"

namespace fgdm {
namespace {

using namespace testing::c;
using nlohmann::json;
using testing::expect_words;

// What a job's callbacks were told. A job is done before its end is told: who gives it one of these
// waits for that.
struct Told {
  std::atomic<int> steps{0}, done{0};
  std::promise<void> first_step, finished;
  bool stop = false;

  fgdm_callbacks callbacks() {
    return {this,
            [](void* context, const fgdm_step* step) {
              auto& self = *static_cast<Told*>(context);
              EXPECT_EQ(self.done, 0);
              EXPECT_GT(step->num_candidates, 0U);
              EXPECT_LT(step->step, step->num_steps);
              if (self.steps++ == 0)
                self.first_step.set_value();
              return self.stop ? 1 : 0;
            },
            [](void* context) {
              auto& self = *static_cast<Told*>(context);
              if (self.done++ == 0)
                self.finished.set_value();
            },
            nullptr, nullptr};
  }
};

TEST_F(CApiTest, MakesThePictureThatTheEngineMakes) {
  const char* text = nullptr;
  ASSERT_EQ(fgdm_engine_metrics(engine_, &text), FGDM_OK);
  const int finished = json::parse(text)["finished"];
  Told told;
  const auto callbacks = told.callbacks();
  auto* const job = submit(small, &callbacks);
  ASSERT_EQ(fgdm_job_wait(job, -1.0), FGDM_OK) << fgdm_last_error();
  told.finished.get_future().wait();
  EXPECT_EQ(told.done, 1);
  EXPECT_GE(told.steps, 4);

  Request request;
  request.prompt = "two dogs beside a house";
  request.seed = 7;
  request.candidates = 2;
  request.condition_steps = request.num_inference_steps = 2;
  request.height = request.width = 64;
  request.stop_at_recall = 0.0;
  Engine engine(bundle_folder, testing::cpu_options());
  const auto expected = engine.generate(request);

  const auto expect_same = [](const fgdm_pixels& lent, const Pixels& pixels) {
    EXPECT_EQ(lent.height, pixels.height);
    EXPECT_EQ(lent.width, pixels.width);
    const auto size = static_cast<std::size_t>(lent.height * lent.width * lent.channels);
    EXPECT_EQ(std::vector<std::uint8_t>(lent.data, lent.data + size), pixels.data);
  };
  fgdm_pixels pixels;
  ASSERT_EQ(fgdm_job_pixels(job, nullptr, FGDM_CHOSEN, FGDM_IMAGE, &pixels), FGDM_OK);
  EXPECT_EQ(pixels.channels, 3);
  expect_same(pixels, expected.image);
  for (int i = 0; i < 2; ++i) {
    const auto& candidate = expected.candidates.at(static_cast<std::size_t>(i));
    ASSERT_EQ(fgdm_job_pixels(job, nullptr, i, FGDM_MAP, &pixels), FGDM_OK);
    expect_same(pixels, candidate.map);
    ASSERT_EQ(fgdm_job_pixels(job, "segmentation", i, FGDM_LABELS, &pixels), FGDM_OK);
    EXPECT_EQ(pixels.channels, 1);
    expect_same(pixels, candidate.labels);
  }

  ASSERT_EQ(fgdm_job_json(job, &text), FGDM_OK);
  const auto told_result = json::parse(text);
  EXPECT_EQ(told_result["chosen"], expected.chosen);
  EXPECT_EQ(told_result["parameters"]["candidates"], 2);
  EXPECT_EQ(told_result["engine"]["version"], FGDM_VERSION);
  EXPECT_EQ(told_result["image"], json({{"width", 64}, {"height", 64}}));
  ASSERT_EQ(fgdm_engine_info(engine_, &text), FGDM_OK);
  EXPECT_EQ(json::parse(text)["backend"], "cpu");
  ASSERT_EQ(fgdm_engine_metrics(engine_, &text), FGDM_OK);
  EXPECT_EQ(json::parse(text)["finished"], finished + 1);
  fgdm_job_free(job);
}

TEST_F(CApiTest, AnArchiveInMemoryIsReleasedOnceWhateverComesOfIt) {
  const auto archive = testing::archive_of(bundle_folder);
  std::vector<char> block(archive.size() + 64);
  char* const begin = block.data() + 64 - reinterpret_cast<std::uintptr_t>(block.data()) % 64;
  std::copy(archive.begin(), archive.end(), begin);
  int released = 0;
  const auto release = [](void* context) { ++*static_cast<int*>(context); };
  const auto with = options();
  fgdm_engine* engine = nullptr;
  const auto open = [&](const char* bytes, std::size_t size) {
    return fgdm_engine_open_memory(bytes, size, with.c_str(), release, &released, &engine);
  };
  EXPECT_EQ(open(begin, archive.size() / 2), FGDM_BUNDLE_ERROR);
  expect_words(fgdm_last_error(), {"the archive in memory", "cut short"});
  EXPECT_EQ(engine, nullptr);
  EXPECT_EQ(released, 1);
  EXPECT_EQ(open(begin + 1, archive.size() - 1), FGDM_REQUEST_ERROR);
  EXPECT_EQ(open(nullptr, 0), FGDM_REQUEST_ERROR);
  EXPECT_EQ(fgdm_engine_open_memory(begin, archive.size(), "{", release, &released, &engine),
            FGDM_REQUEST_ERROR);
  EXPECT_EQ(released, 4);

  ASSERT_EQ(open(begin, archive.size()), FGDM_OK) << fgdm_last_error();
  fgdm_job* jobs[2] = {submit(small), nullptr};
  ASSERT_EQ(fgdm_submit(engine, small, nullptr, 0, nullptr, &jobs[1]), FGDM_OK);
  fgdm_pixels images[2];
  for (int i = 0; i < 2; ++i) {
    ASSERT_EQ(fgdm_job_wait(jobs[i], -1.0), FGDM_OK) << fgdm_last_error();
    ASSERT_EQ(fgdm_job_pixels(jobs[i], nullptr, FGDM_CHOSEN, FGDM_IMAGE, &images[i]), FGDM_OK);
  }
  EXPECT_EQ(std::memcmp(images[0].data, images[1].data, 64 * 64 * 3), 0);
  EXPECT_EQ(released, 4);
  fgdm_engine_close(engine);
  EXPECT_EQ(released, 5);
  std::fill(block.begin(), block.end(), '\0');  // results have bytes of their own
  EXPECT_EQ(std::memcmp(images[0].data, images[1].data, 64 * 64 * 3), 0);
  for (auto* job : jobs)
    fgdm_job_free(job);
}

TEST_F(CApiTest, EveryFailureHasItsNumberAndItsWords) {
  auto* engine = engine_;
  EXPECT_EQ(fgdm_engine_open("no such bundle", nullptr, &engine), FGDM_BUNDLE_ERROR);
  EXPECT_EQ(engine, nullptr);
  expect_words(fgdm_last_error(), {"no such bundle"});
  EXPECT_EQ(fgdm_engine_open(bundle_folder.c_str(), R"({"backend": "cpu", "library": "/nowhere"})",
                             &engine),
            FGDM_BACKEND_ERROR);
  EXPECT_EQ(fgdm_engine_open(bundle_folder.c_str(), R"({"thread": 1})", &engine),
            FGDM_REQUEST_ERROR);
  expect_words(fgdm_last_error(), {"thread", "max_batch_rows"});
  EXPECT_EQ(fgdm_engine_open(nullptr, nullptr, &engine), FGDM_REQUEST_ERROR);
  EXPECT_EQ(fgdm_engine_open("x", nullptr, nullptr), FGDM_REQUEST_ERROR);

  fgdm_job* job = nullptr;
  for (const auto& [request, word] :
       {std::pair(R"({"prompt": "a dog", "candidate": 1})", "candidate"),
        std::pair(R"({"prompt": "a dog", "candidates": "4"})", "a whole number"),
        std::pair(R"({"prompt": "a dog", "candidates": 0})", "1 to 1000"),
        std::pair(R"({"prompt": "a dog")", "JSON"), std::pair("[]", "an object"),
        std::pair(R"({"prompt": "a dog", "image": "dog.png"})", "arrays")}) {
    EXPECT_EQ(fgdm_submit(engine_, request, nullptr, 0, nullptr, &job), FGDM_REQUEST_ERROR);
    expect_words(fgdm_last_error(), {word});
  }
  EXPECT_EQ(fgdm_submit(engine_, nullptr, nullptr, 0, nullptr, &job), FGDM_REQUEST_ERROR);
  EXPECT_EQ(fgdm_submit(engine_, small, nullptr, 1, nullptr, &job), FGDM_REQUEST_ERROR);
  EXPECT_EQ(fgdm_job_wait(nullptr, 0.0), FGDM_REQUEST_ERROR);
  expect_words(fgdm_last_error(), {"job is NULL"});

  job = submit(R"({"prompt": "a dog", "deadline": 1e-9})");
  EXPECT_EQ(fgdm_job_wait(job, -1.0), FGDM_DEADLINE);
  fgdm_job_free(job);

  // Another thread has an error of its own.
  std::thread([] { EXPECT_STREQ(fgdm_last_error(), ""); }).join();
}

TEST_F(CApiTest, AJobThatIsNotDoneSaysSoAndCanBeCancelled) {
  Told told;
  const auto callbacks = told.callbacks();
  auto* const job = submit(endless, &callbacks);
  told.first_step.get_future().wait();
  const char* text = nullptr;
  fgdm_pixels pixels;
  EXPECT_EQ(fgdm_job_wait(job, 0.0), FGDM_NOT_DONE);
  EXPECT_EQ(fgdm_job_wait(job, 0.01), FGDM_NOT_DONE);
  EXPECT_EQ(fgdm_job_json(job, &text), FGDM_NOT_DONE);
  EXPECT_EQ(fgdm_job_pixels(job, nullptr, FGDM_CHOSEN, FGDM_IMAGE, &pixels), FGDM_NOT_DONE);
  EXPECT_EQ(fgdm_job_cancel(job), FGDM_OK);
  EXPECT_EQ(fgdm_job_wait(job, -1.0), FGDM_CANCELLED);
  EXPECT_EQ(fgdm_job_json(job, &text), FGDM_CANCELLED);
  EXPECT_EQ(text, nullptr);
  fgdm_job_free(job);

  Told stops;
  stops.stop = true;
  const auto stopping = stops.callbacks();
  auto* const stopped = submit(endless, &stopping);
  EXPECT_EQ(fgdm_job_wait(stopped, -1.0), FGDM_CANCELLED);
  EXPECT_EQ(stops.steps, 1);
  fgdm_job_free(stopped);
  told.finished.get_future().wait();
  stops.finished.get_future().wait();
}

TEST_F(CApiTest, JobsOutliveTheirEngine) {
  auto* const finished = submit(small);
  ASSERT_EQ(fgdm_job_wait(finished, -1.0), FGDM_OK);
  Told told;
  const auto callbacks = told.callbacks();
  auto* const running = submit(endless, &callbacks);
  told.first_step.get_future().wait();
  fgdm_engine_close(std::exchange(engine_, nullptr));
  EXPECT_EQ(told.done, 1);
  EXPECT_EQ(fgdm_job_wait(running, 0.0), FGDM_CANCELLED);
  const char* text = nullptr;
  EXPECT_EQ(fgdm_job_json(finished, &text), FGDM_OK);
  fgdm_job_free(running);
  fgdm_job_free(finished);
}

TEST_F(CApiTest, AJobIsFreedInItsOwnEnd) {
  struct Owner {
    fgdm_job* job = nullptr;
    std::promise<void> freed;
  } owner;
  const fgdm_callbacks callbacks{&owner, nullptr,
                                 [](void* context) {
                                   auto& self = *static_cast<Owner*>(context);
                                   fgdm_job_free(self.job);
                                   self.freed.set_value();
                                 },
                                 nullptr, nullptr};
  ASSERT_EQ(fgdm_submit(engine_, small, nullptr, 0, &callbacks, &owner.job), FGDM_OK);
  owner.freed.get_future().wait();
}

TEST_F(CApiTest, ItsEngineIsClosedInACallback) {
  struct Host {
    fgdm_engine* engine;
    std::promise<void> done;
  } host{std::exchange(engine_, nullptr), {}};
  const fgdm_callbacks callbacks{
      &host,
      [](void* context, const fgdm_step*) {
        auto& self = *static_cast<Host*>(context);
        fgdm_engine_close(std::exchange(self.engine, nullptr));
        return 0;
      },
      [](void* context) { static_cast<Host*>(context)->done.set_value(); }, nullptr, nullptr};
  fgdm_job* job = nullptr;
  ASSERT_EQ(fgdm_submit(host.engine, endless, nullptr, 0, &callbacks, &job), FGDM_OK);
  host.done.get_future().wait();
  EXPECT_EQ(fgdm_job_wait(job, -1.0), FGDM_CANCELLED);
  fgdm_job_free(job);
  Engine::finish_closing();
}

TEST_F(CApiTest, AFullQueueSaysSo) {
  fgdm_engine* engine = nullptr;
  ASSERT_EQ(fgdm_engine_open(bundle_folder.c_str(), options(1).c_str(), &engine), FGDM_OK);
  Told told;
  const auto callbacks = told.callbacks();
  std::array<fgdm_job*, 2> jobs{};
  ASSERT_EQ(fgdm_submit(engine, endless, nullptr, 0, &callbacks, &jobs[0]), FGDM_OK);
  told.first_step.get_future().wait();
  ASSERT_EQ(fgdm_submit(engine, endless, nullptr, 0, nullptr, &jobs[1]), FGDM_OK);
  fgdm_job* refused = nullptr;
  EXPECT_EQ(fgdm_submit(engine, endless, nullptr, 0, nullptr, &refused), FGDM_QUEUE_FULL);
  EXPECT_EQ(refused, nullptr);
  fgdm_engine_close(engine);
  for (auto* const job : jobs)
    fgdm_job_free(job);
}

TEST_F(CApiTest, TakesTheMapOfAnotherJob) {
  auto* const first = submit(small);
  ASSERT_EQ(fgdm_job_wait(first, -1.0), FGDM_OK) << fgdm_last_error();
  fgdm_pixels labels;
  ASSERT_EQ(fgdm_job_pixels(first, nullptr, FGDM_CHOSEN, FGDM_LABELS, &labels), FGDM_OK);
  const fgdm_array map{
      "factors.segmentation.map", FGDM_UINT8, 2, {labels.height, labels.width}, labels.data};
  fgdm_job* second = nullptr;
  ASSERT_EQ(fgdm_submit(engine_, small, &map, 1, nullptr, &second), FGDM_OK) << fgdm_last_error();
  ASSERT_EQ(fgdm_job_wait(second, -1.0), FGDM_OK) << fgdm_last_error();
  const char* text = nullptr;
  ASSERT_EQ(fgdm_job_json(second, &text), FGDM_OK);
  const auto given = json::parse(text);
  EXPECT_EQ(given["factors"]["segmentation"]["given"], true);
  EXPECT_EQ(given["parameters"]["factors"]["segmentation"]["map"], "given");
  fgdm_pixels a, b;
  ASSERT_EQ(fgdm_job_pixels(second, "segmentation", 0, FGDM_LABELS, &b), FGDM_OK);
  const auto size = static_cast<std::size_t>(labels.height * labels.width);
  EXPECT_EQ(std::vector(b.data, b.data + size), std::vector(labels.data, labels.data + size));

  EXPECT_EQ(fgdm_job_pixels(first, "depths", FGDM_CHOSEN, FGDM_MAP, &a), FGDM_REQUEST_ERROR);
  EXPECT_EQ(fgdm_job_pixels(first, nullptr, 2, FGDM_MAP, &a), FGDM_REQUEST_ERROR);
  EXPECT_EQ(a.data, nullptr);
  EXPECT_EQ(fgdm_job_pixels(first, nullptr, 0, FGDM_IMAGE, &a), FGDM_REQUEST_ERROR);
  fgdm_job_free(first);
  fgdm_job_free(second);
}

TEST_F(CApiTest, AResultsParametersAreTheSameRequest) {
  const auto picture_of = [&](const char* request, std::string& parameters) {
    auto* const job = submit(request);
    EXPECT_EQ(fgdm_job_wait(job, -1.0), FGDM_OK) << fgdm_last_error();
    const char* text = "{}";
    fgdm_pixels image{};
    EXPECT_EQ(fgdm_job_json(job, &text), FGDM_OK);
    EXPECT_EQ(fgdm_job_pixels(job, nullptr, FGDM_CHOSEN, FGDM_IMAGE, &image), FGDM_OK);
    parameters = json::parse(text)["parameters"].dump();
    const auto size = static_cast<std::size_t>(image.height * image.width * 3);
    const std::vector<std::uint8_t> copy(image.data, image.data + size);
    fgdm_job_free(job);
    return copy;
  };
  std::string first, second;
  const auto picture = picture_of(small, first);
  EXPECT_EQ(picture_of(first.c_str(), second), picture);
  EXPECT_EQ(first, second);
}

TEST_F(CApiTest, ALoggerIsToldWhatIsOpened) {
  std::vector<std::pair<fgdm_level, std::string>> lines;
  const auto open = [&] {
    fgdm_engine* engine = nullptr;
    EXPECT_EQ(fgdm_engine_open(bundle_folder.c_str(), options().c_str(), &engine), FGDM_OK);
    fgdm_engine_close(engine);
  };
  fgdm_set_logger(
      [](void* context, fgdm_level level, const char* message) {
        static_cast<decltype(lines)*>(context)->emplace_back(level, message);
      },
      &lines);
  open();
  fgdm_set_logger(nullptr, nullptr);
  open();
  const char* info = nullptr;
  ASSERT_EQ(fgdm_engine_info(engine_, &info), FGDM_OK);
  const auto notes = json::parse(info)["notes"];
  ASSERT_EQ(lines.size(), 1 + notes.size());
  EXPECT_EQ(lines[0].first, FGDM_INFO);
  expect_words(lines[0].second, {"scenes is open", "onnxruntime", "cpu"});
  for (std::size_t i = 0; i < notes.size(); ++i)
    EXPECT_EQ(lines[i + 1], std::pair(FGDM_WARNING, "scenes: " + notes[i].get<std::string>()));
}

TEST_F(CApiTest, ArraysOfAnotherKindAreRefused) {
  const std::vector<float> zeros(3 * 64 * 64);
  expect_words(refused({"picture", FGDM_UINT8, 3, {64, 64, 3}, zeros.data()}),
               {"picture", "control_images.NAME"});
  expect_words(refused({"image", FGDM_FLOAT32, 3, {64, 64, 3}, zeros.data()}),
               {"image is float32 of shape (64, 64, 3)", "uint8"});
  expect_words(refused({"mask", FGDM_UINT8, 3, {64, 64, 3}, zeros.data()}), {"(height, width)"});
  expect_words(refused({"image", FGDM_UINT8, 3, {1 << 30, 1 << 30, 3}, zeros.data()}), {"image"});
  expect_words(refused({"image", FGDM_UINT8, 3, {-1, 64, 3}, zeros.data()}), {"image is"});
  expect_words(refused({"latents", FGDM_FLOAT32, 9, {1, 1, 1, 1}, zeros.data()}), {"latents is"});
  expect_words(refused({"latents", FGDM_FLOAT32, 4, {1, 16, 16, 4}, zeros.data()}),
               {"latents has shape (1, 16, 16, 4), expected (1, 4, 16, 16)"});
  expect_words(refused({"image", FGDM_UINT8, 3, {64, 64, 3}, nullptr}), {"image is NULL"});
  expect_words(refused({nullptr, FGDM_UINT8, 3, {64, 64, 3}, zeros.data()}), {"NULL"});
  expect_words(refused({"factors.segmentation.mask", FGDM_UINT8, 2, {32, 32}, zeros.data()}),
               {"factors.NAME.map"});
  expect_words(refused({"factors.segmentation.map", FGDM_UINT8, 2, {32, 32}, zeros.data()},
                       R"({"prompt": "a dog", "factors": {"segmentation": null}})"),
               {"leaves the factor out"});
}

}  // namespace
}  // namespace fgdm
