// guided_step and decode_labels on a card, against float64 and the core.

#include <cstddef>
#include <limits>
#include <string>
#include <vector>

#include "attention_case.hpp"
#include "gpu_memory.hpp"
#include "label_case.hpp"
#include "step_case.hpp"

namespace fgdm::kernels::test {
namespace {

class GuidedStepGpu : public OnDevice {};
class AccumulateGpu : public OnDevice {};
class DecodeLabelsGpu : public OnDevice {};

std::vector<double> wide(const std::vector<float>& values) {
  return {values.begin(), values.end()};
}

// Protects mixed rows, every pair of types, and rows whose size is no multiple of four.
TEST_F(GuidedStepGpu, MatchesFloat64ForMixedRows) {
  for (const int elements : {4 * 32 * 32, 37})
    for (const fgdm_dtype read : {FGDM_FLOAT32, FGDM_FLOAT16, FGDM_BFLOAT16})
      for (const fgdm_dtype write : {FGDM_FLOAT32, FGDM_FLOAT16, FGDM_BFLOAT16}) {
        SCOPED_TRACE(std::to_string(elements) + " elements, types " + std::to_string(read) + ", " +
                     std::to_string(write));
        StepCase given = mixed_rows(elements, 1);
        given.shape.epsilon_dtype = read;
        given.shape.input_dtype = write;
        with_type(read, [&]<typename Read>(Read) {
          const auto narrow = stored<Read>(wide(given.epsilon));
          const auto back = widened(narrow);
          given.epsilon.assign(back.begin(), back.end());
          with_type(write, [&]<typename Write>(Write) {
            const StepCase expected = stepped_in_float64(given);
            const DeviceArray<fgdm_step_row> steps(given.steps);
            const DeviceArray<Read> epsilon(narrow);
            const DeviceArray<float> sample(given.sample);
            const DeviceArray<float> x0(given.x0);
            const DeviceArray<Write> next(stored<Write>(wide(given.next_input)));
            const DeviceArray<int> flags(given.nonfinite);
            expect_success(fgdm_guided_step(&given.shape, steps.data(), epsilon.data(),
                                            sample.data(), x0.data(), next.data(), flags.data(),
                                            stream),
                           "fgdm_guided_step");
            expect_success(cudaStreamSynchronize(stream), "the kernel");
            StepCase result = given;
            result.sample = sample.read();
            result.x0 = x0.read();
            result.nonfinite = flags.read();
            result.next_input = expected.next_input;
            EXPECT_EQ(difference(result, expected, 1e-5), "");
            const auto inputs = widened(next.read());
            result.next_input.assign(inputs.begin(), inputs.end());
            EXPECT_EQ(difference(result, expected, write == FGDM_FLOAT32 ? 1e-5 : 8e-3), "");
          });
        });
      }
}

TEST_F(GuidedStepGpu, FlagsRowsThatAreNotFinite) {
  StepCase given = mixed_rows(64, 2);
  given.epsilon[static_cast<std::size_t>(given.steps[1].positive) * 64 + 3] =
      std::numeric_limits<float>::infinity();
  const DeviceArray<fgdm_step_row> steps(given.steps);
  const DeviceArray<float> epsilon(given.epsilon);
  const DeviceArray<float> sample(given.sample);
  const DeviceArray<float> x0(given.x0);
  const DeviceArray<int> flags(given.nonfinite);
  expect_success(fgdm_guided_step(&given.shape, steps.data(), epsilon.data(), sample.data(),
                                  x0.data(), nullptr, flags.data(), stream),
                 "fgdm_guided_step");
  expect_success(cudaStreamSynchronize(stream), "the kernel");
  EXPECT_EQ(flags.read(), (std::vector<int>{0, 1, 0, 0, 0, 0, 0}));
}

TEST_F(AccumulateGpu, AddsInTheTypeOfItsArrays) {
  for (const fgdm_dtype dtype : {FGDM_FLOAT32, FGDM_FLOAT16, FGDM_BFLOAT16})
    with_type(dtype, [&]<typename T>(T) {
      std::vector<double> total, term;
      for (int i = 0; i < 1027; ++i) {  // no multiple of what a thread adds
        total.push_back(0.25 * i);
        term.push_back(-0.5 * i + 3);
      }
      const auto sums = stored<T>(total), added = stored<T>(term);
      std::vector<double> expected;
      for (std::size_t i = 0; i < total.size(); ++i)
        expected.push_back(widened(sums)[i] + widened(added)[i]);
      const DeviceArray<T> on_device(sums), adding(added);
      expect_success(fgdm_accumulate(dtype, 1027, on_device.data(), adding.data(), nullptr),
                     "fgdm_accumulate");
      expect_success(cudaDeviceSynchronize(), "the kernel");
      EXPECT_EQ(widened(on_device.read()), widened(stored<T>(expected)));
    });
}

// Protects the promise that the card chooses the map that the CPU chooses; twice over the same
// memory, as a replayed graph does it.
TEST_F(DecodeLabelsGpu, EqualsTheCore) {
  for (const fgdm_decode_rule rule : {FGDM_DECODE_NEAREST, FGDM_DECODE_BOX})
    for (const int classes : {1, 20, 183}) {
      SCOPED_TRACE(std::to_string(classes) + " classes, rule " + std::to_string(rule));
      const LabelCase given = label_case(classes, rule, 10, 256, 250, 7);
      const DeviceArray<float> images(given.images);
      const DeviceArray<unsigned char> palette(given.palette);
      const DeviceArray<unsigned char> requested(given.requested);
      LabelResult result = empty_result(given);
      const DeviceArray<unsigned char> labels(result.labels);
      const DeviceArray<int> areas(result.areas);
      const DeviceArray<fgdm_map_recall> recall(result.recall);
      for (int i = 0; i < 2; ++i)
        expect_success(fgdm_decode_labels(&given.shape, images.data(), palette.data(),
                                          requested.data(), labels.data(), areas.data(),
                                          recall.data(), stream),
                       "fgdm_decode_labels");
      expect_success(cudaStreamSynchronize(stream), "the kernel");
      result = {labels.read(), areas.read(), recall.read()};
      EXPECT_EQ(difference(result, core_result(given)), "");
    }
}

}  // namespace
}  // namespace fgdm::kernels::test
