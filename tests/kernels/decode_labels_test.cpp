// The source of the label kernel, run on the CPU thread by thread, against the core's decoder and
// recall and against the reference.

#include "decode_labels.hpp"

#include <vector>

#include <gtest/gtest.h>

#include "block_emulator.hpp"
#include "fgdm/recall.hpp"
#include "label_case.hpp"
#include "labels_plan.hpp"

namespace fgdm::kernels::test {
namespace {

struct HostPixels {
  const float* map;
  int pixels;

  float operator()(int channel, int pixel) const { return map[channel * pixels + pixel]; }
};

LabelResult run(const LabelCase& given) {
  LabelResult result = empty_result(given);
  const LabelsPlan plan = plan_labels(given.shape);
  const LabelsArguments arguments =
      labels_arguments(given.shape, plan,
                       {given.palette.data(), given.requested.data(), result.labels.data(),
                        result.areas.data(), result.recall.data()});
  emulate({plan.grid, plan.warps, plan.shared_bytes, 3}, [&](EmulatedThread& thread) {
    const float* map = given.images.data() + std::size_t{thread.block().y} * 3 *
                                                 static_cast<std::size_t>(arguments.pixels);
    LabelsThread<EmulatedThread, HostPixels>{thread, arguments, {map, arguments.pixels}}.run();
  });
  return result;
}

// Protects labels, areas and recall at colours on and around every boundary, for both rules.
TEST(DecodeLabels, EqualsTheReference) {
  for (const fgdm_decode_rule rule : {FGDM_DECODE_NEAREST, FGDM_DECODE_BOX})
    for (const int classes : {1, 20, 183, 255}) {
      SCOPED_TRACE(std::to_string(classes) + " classes, rule " + std::to_string(rule));
      const LabelCase given = label_case(classes, rule, 2, 67, 41, 9);
      EXPECT_EQ(difference(run(given), reference_result(given)), "");
    }
}

// Protects the promise that the card chooses the map that the CPU chooses.
TEST(DecodeLabels, EqualsTheCore) {
  for (const fgdm_decode_rule rule : {FGDM_DECODE_NEAREST, FGDM_DECODE_BOX}) {
    const LabelCase given = label_case(30, rule, 3, 64, 80, 11);
    EXPECT_EQ(difference(run(given), core_result(given)), "");
  }
}

// Protects the area from which a class counts as found, at fractions that binary numbers only
// approximate.
TEST(DecodeLabels, LeastPixelsIsTheCoresRule) {
  for (const int pixels : {1, 7, 1000, 4096, 65536})
    for (const double min_area : {0.0, 0.002, 0.1, 1.0 / 3.0, 0.5, 0.9, 1.0}) {
      const int least = least_pixels(min_area, pixels);
      std::vector<std::uint8_t> labels(static_cast<std::size_t>(pixels), 1);
      const std::vector<int> requested = {0};
      for (const int area : {least - 1, least}) {
        if (area < 0 || area > pixels)
          continue;
        std::fill(labels.begin(), labels.end(), std::uint8_t{1});
        std::fill_n(labels.begin(), area, std::uint8_t{0});
        EXPECT_EQ(measure(labels, requested, min_area).found.size(), area == least ? 1U : 0U)
            << area << " of " << pixels << " pixels, min_area " << min_area;
      }
    }
}

TEST(DecodeLabelsCheck, NamesWhatIsAndWhatWasExpected) {
  fgdm_labels_shape shape{1, 8, 8, 20, 28, 0.002, FGDM_FLOAT32, FGDM_DECODE_NEAREST};
  EXPECT_EQ(fgdm_decode_labels_check(&shape), nullptr);
  shape.classes = 256;
  EXPECT_STREQ(fgdm_decode_labels_check(&shape),
               "decode_labels: classes is 256, expected 1 to 255");
  shape.classes = 20;
  shape.min_area = 1.5;
  EXPECT_STREQ(fgdm_decode_labels_check(&shape),
               "decode_labels: min_area is 1.5, expected a fraction of the map from 0 to 1");
}

}  // namespace
}  // namespace fgdm::kernels::test
