// What `fgdm profile` measures: each size that was asked for, as far as memory goes.
#include "profile.hpp"

#include <array>

#include "fgdm/error.hpp"
#include "scheduler_fixture.hpp"

namespace fgdm {
namespace {

using testing::fake_graphs;
using testing::scenes;

constexpr std::array<int, 4> rows{6, 1, 2, 4};  // in no order, with one that may not fit

TEST(Profile, HoldsTheSizesOfMapsAndImage) {
  auto graphs = fake_graphs(scenes().manifest());
  const auto times = measure_batches(scenes(), graphs, rows, 1, 64, 96);
  ASSERT_EQ(times.size(), 2U);
  EXPECT_EQ(times[0].latent_height, 8);
  EXPECT_EQ(times[0].latent_width, 12);
  EXPECT_EQ(times[1].latent_width, 24);
  for (const auto& measured : times)
    EXPECT_EQ(measured.seconds.size(), rows.size());
  EXPECT_THROW(measure_batches(scenes(), graphs, rows, 1, 100, 100), RequestError);
}

TEST(Profile, TimesAsManyRowsAsItSays) {
  std::vector<std::int64_t> seen;
  auto graphs = fake_graphs(scenes().manifest(), [&](const std::string& graph, auto,
                                                     std::span<const NamedTensor> outputs) {
    if (graph == scenes().manifest().backbone)
      seen.push_back(outputs.front().tensor.shape.front());
  });
  measure_batches(scenes(), graphs, rows, 1, {}, {});
  const std::vector<std::int64_t> once{1, 1, 2, 2, 4, 4, 6, 6};  // the first call warms up
  auto expected = once;
  expected.insert(expected.end(), once.begin(), once.end());  // of maps, then of images
  EXPECT_EQ(seen, expected);
}

TEST(Profile, LeavesOutWhatFindsNoMemory) {
  for (const std::int64_t most : {4, 0}) {
    auto graphs = fake_graphs(scenes().manifest(), [=](const std::string& graph, auto,
                                                       std::span<const NamedTensor> outputs) {
      if (graph == scenes().manifest().backbone && outputs.front().tensor.shape.front() > most)
        throw OutOfMemoryError("no memory for so many rows");
    });
    if (most == 0) {
      EXPECT_THROW(measure_batches(scenes(), graphs, rows, 1, {}, {}), OutOfMemoryError);
      continue;
    }
    for (const auto& measured : measure_batches(scenes(), graphs, rows, 1, {}, {})) {
      EXPECT_EQ(measured.seconds.size(), 3U);
      EXPECT_EQ(measured.seconds.rbegin()->first, most);
    }
  }
}

}  // namespace
}  // namespace fgdm
