// What `fgdm profile` measures: each size that was asked for, as far as memory goes.
#include "batch_times.hpp"

#include <array>
#include <filesystem>
#include <fstream>

#include "fgdm/error.hpp"
#include "scheduler_fixture.hpp"
#include "temp_folder.hpp"

namespace fgdm::batch_times_test {
namespace {

using testing::fake_graphs;
using testing::scenes;

constexpr std::array<int, 4> rows{6, 1, 2, 4};  // in no order, with one that may not fit

TEST(BatchTimes, HoldsTheSizesOfMapsAndImage) {
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

TEST(BatchTimes, TimesAsManyRowsAsItSays) {
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

TEST(BatchTimes, LeavesOutWhatFindsNoMemory) {
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

// What is said of batch times with one entry, as its text is; "" if it is read.
std::string refusal(const std::string& entries) {
  const testing::TempFolder folder;
  std::ofstream(folder / "profile.json")
      << R"({"schema": 1, "profiles": {"cpu": )" << entries << "}}";
  try {
    read_batch_times(*folder_tree(folder.path()), "profile.json", "cpu");
  } catch (const BundleError& error) {
    return error.what();
  }
  return "";
}

TEST(BatchTimes, NumbersOutOfTheirRangeAreRefusedByName) {
  const auto entry = [](const std::string& height, const std::string& count,
                        const std::string& seconds) {
    return R"([{"latent_height": )" + height + R"(, "latent_width": 8, "seconds": {")" + count +
           "\": " + seconds + "}}]";
  };
  EXPECT_EQ(refusal(entry("8", "2", "0.5")), "");
  for (const char* height : {"1e300", "-1", "0", "1.5", "\"NaN\"", "null", "18446744073709551615"})
    EXPECT_NE(refusal(entry(height, "2", "1")).find("latent_height"), std::string::npos) << height;
  for (const char* count : {"0", "-1", "1.5", "1e3", "2x", " 2", "NaN", "99999999999999999999"})
    EXPECT_NE(refusal(entry("8", count, "1")).find("rows"), std::string::npos) << count;
  for (const char* seconds : {"1e300", "-1", "0", "\"NaN\"", "null", "true", "1e-300"})
    EXPECT_NE(refusal(entry("8", "2", seconds)).find("seconds.2"), std::string::npos) << seconds;
  for (const char* entries : {"{}", "5", "[[]]", "[{}]"})
    EXPECT_NE(refusal(entries).find("can't be read"), std::string::npos) << entries;
}

}  // namespace
}  // namespace fgdm::batch_times_test
