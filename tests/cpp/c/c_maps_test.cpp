// Maps in C, as they come: each is seen, one is chosen, steps are previewed.
#include "fgdm/fgdm.h"

#include <array>
#include <future>
#include <nlohmann/json.hpp>
#include <set>
#include <vector>

#include "c_api_fixture.hpp"

namespace fgdm {
namespace {

using namespace testing::c;
using nlohmann::json;
using testing::expect_words;

// The callback chooses among all maps, so none stops early.
constexpr const char* picked = R"({"prompt": "two dogs beside a house", "seed": 7, "candidates": 2,
  "condition_steps": 2, "num_inference_steps": 2, "height": 64, "width": 64})";

// What a job's callbacks saw of its maps, and which map they choose.
struct Watched {
  std::vector<int> seen, chosen;
  std::vector<std::array<int, 3>> previews;  // height, width, channels
  std::string refused_preview;
  int offered = 0, place = 0;
  std::promise<void> finished;

  fgdm_callbacks callbacks() {
    fgdm_callbacks made{};
    made.context = this;
    made.on_step = [](void* context, const fgdm_step* step) {
      auto& self = *static_cast<Watched*>(context);
      fgdm_pixels pixels;
      EXPECT_EQ(fgdm_step_preview(step, step->candidates[0], &pixels), FGDM_OK);
      self.previews.push_back({pixels.height, pixels.width, pixels.channels});
      if (fgdm_step_preview(step, 99, &pixels) == FGDM_REQUEST_ERROR && pixels.data == nullptr)
        self.refused_preview = fgdm_last_error();
      return 0;
    };
    made.on_map = [](void* context, const fgdm_map* map, int is_chosen) {
      auto& self = *static_cast<Watched*>(context);
      (is_chosen != 0 ? self.chosen : self.seen).push_back(map->candidate);
      EXPECT_STREQ(map->factor, "segmentation");
      EXPECT_EQ(map->num_steps, 2);
      EXPECT_EQ(map->labels.channels, 1);
      EXPECT_EQ(map->map.channels, 3);
      EXPECT_GE(map->recall, 0.0);
      return 0;
    };
    made.on_select = [](void* context, const fgdm_map* maps, std::size_t num_maps) {
      auto& self = *static_cast<Watched*>(context);
      self.offered = static_cast<int>(num_maps);
      EXPECT_STREQ(maps[0].refused, "");
      return self.place;
    };
    made.on_done = [](void* context) { static_cast<Watched*>(context)->finished.set_value(); };
    return made;
  }
};

TEST_F(CApiTest, MapsAreSeenAndChosenAsTheyCome) {
  for (const int place : {0, 1}) {
    Watched watched;
    watched.place = place;
    const auto callbacks = watched.callbacks();
    auto* const job = submit(picked, &callbacks);
    ASSERT_NE(job, nullptr);
    ASSERT_EQ(fgdm_job_wait(job, -1.0), FGDM_OK) << fgdm_last_error();
    watched.finished.get_future().wait();
    const char* text = nullptr;
    ASSERT_EQ(fgdm_job_json(job, &text), FGDM_OK);
    EXPECT_EQ(json::parse(text)["chosen"], place);
    EXPECT_EQ(watched.offered, 2);
    EXPECT_EQ(watched.chosen, std::vector{place});
    EXPECT_EQ(std::set(watched.seen.begin(), watched.seen.end()), (std::set{0, 1}));
    ASSERT_EQ(watched.previews.size(), 4u);  // two steps of the maps, two of the image
    EXPECT_EQ(watched.previews.front(), (std::array{32, 32, 3}));
    EXPECT_EQ(watched.previews.back(), (std::array{64, 64, 3}));
    expect_words(watched.refused_preview.c_str(), {"99"});
    fgdm_job_free(job);
  }
}

TEST_F(CApiTest, AChoiceOfNoMapStopsTheJob) {
  for (const int place : {-1, 2}) {
    Watched watched;
    watched.place = place;
    const auto callbacks = watched.callbacks();
    auto* const job = submit(picked, &callbacks);
    ASSERT_NE(job, nullptr);
    EXPECT_EQ(fgdm_job_wait(job, -1.0), FGDM_CANCELLED);
    watched.finished.get_future().wait();
    fgdm_job_free(job);
  }
  fgdm_pixels pixels;
  EXPECT_EQ(fgdm_step_preview(nullptr, 0, &pixels), FGDM_REQUEST_ERROR);
}

}  // namespace
}  // namespace fgdm
