// segfree_attention on a card, against float64: the inputs of the emulation's tests and more.

#include <limits>
#include <string>
#include <vector>

#include "attention_case.hpp"
#include "gpu_memory.hpp"

namespace fgdm::kernels::test {
namespace {

class SegfreeAttentionGpu : public OnDevice {
protected:
  std::vector<double> run(const AttentionCase& given, bool captured = false) {
    return with_type(given.shape.dtype, [&]<typename T>(T) {
      const DeviceArray<T> q(stored<T>(given.q));
      const DeviceArray<T> k(stored<T>(given.k));
      const DeviceArray<T> v(stored<T>(given.v));
      const DeviceArray<float> scale(given.attn_scale);
      const DeviceArray<unsigned char> mask(given.argmax_mask);
      const DeviceArray<T> out(
          std::vector<T>(given.q.size(), from_double<T>(std::numeric_limits<double>::quiet_NaN())));
      if (captured)
        expect_success(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), "capture");
      expect_success(fgdm_segfree_attention(&given.shape, q.data(), k.data(), v.data(),
                                            scale.data(), mask.data(), out.data(), stream),
                     "fgdm_segfree_attention");
      if (captured) {
        cudaGraph_t graph = nullptr;
        cudaGraphExec_t executable = nullptr;
        expect_success(cudaStreamEndCapture(stream, &graph), "end of capture");
        expect_success(cudaGraphInstantiate(&executable, graph, 0), "cudaGraphInstantiate");
        expect_success(cudaGraphLaunch(executable, stream), "cudaGraphLaunch");
        expect_success(cudaStreamSynchronize(stream), "the graph");
        cudaGraphExecDestroy(executable);
        cudaGraphDestroy(graph);
      }
      expect_success(cudaStreamSynchronize(stream), "the kernel");
      return widened(out.read());
    });
  }

  std::vector<fgdm_dtype> types() const {
    return has_bfloat16() ? std::vector{FGDM_FLOAT16, FGDM_BFLOAT16, FGDM_FLOAT32}
                          : std::vector{FGDM_FLOAT16, FGDM_FLOAT32};
  }
};

// Protects the kernel at every head size and kind of number, and grids of every form.
TEST_F(SegfreeAttentionGpu, MatchesFloat64OnRandomInputs) {
  for (const fgdm_dtype dtype : types())
    for (const int head_size : {32, 40, 64, 80, 160})
      for (const int tokens : {1, 77, 128})
        for (const int patches : {1, 64, 300}) {
          SCOPED_TRACE("dtype " + std::to_string(dtype) + ", head size " +
                       std::to_string(head_size) + ", " + std::to_string(tokens) + " tokens, " +
                       std::to_string(patches) + " patches");
          const fgdm_attention_shape shape{5,         8,     patches,         tokens,
                                           head_size, dtype, FGDM_ARGMAX_MEAN};
          const AttentionCase given = random_case(shape, 1);
          EXPECT_EQ(compare(given, run(given)), "");
        }
}

TEST_F(SegfreeAttentionGpu, MatchesFloat64OnAdversarialInputs) {
  for (const fgdm_dtype dtype : types())
    for (const fgdm_argmax argmax : {FGDM_ARGMAX_MEAN, FGDM_ARGMAX_PER_HEAD})
      for (const AttentionCase& given : adversarial_cases(dtype, argmax)) {
        SCOPED_TRACE("dtype " + std::to_string(dtype) + ", argmax " + std::to_string(argmax));
        EXPECT_EQ(compare(given, run(given)), "");
      }
}

// Protects large grids, many waves of blocks: the first level of SD 1.5 at 768 pixels.
TEST_F(SegfreeAttentionGpu, MatchesFloat64AtManyPatches) {
  const fgdm_attention_shape shape{2, 8, 9216, 77, 40, FGDM_FLOAT16, FGDM_ARGMAX_MEAN};
  const AttentionCase given = random_case(shape, 2);
  EXPECT_EQ(compare(given, run(given)), "");
}

// Protects CUDA graphs: nothing in the launch may wait or allocate.
TEST_F(SegfreeAttentionGpu, CanBeCaptured) {
  const fgdm_attention_shape shape{2, 8, 256, 77, 160, FGDM_FLOAT16, FGDM_ARGMAX_MEAN};
  const AttentionCase given = random_case(shape, 3);
  EXPECT_EQ(run(given, true), run(given));
}

// Protects against races: the same numbers every time.
TEST_F(SegfreeAttentionGpu, IsDeterministic) {
  const fgdm_attention_shape shape{2, 8, 1024, 77, 80, FGDM_FLOAT16, FGDM_ARGMAX_MEAN};
  const AttentionCase given = random_case(shape, 4);
  const auto first = run(given);
  for (int i = 0; i < 20; ++i)
    EXPECT_EQ(run(given), first);
}

TEST_F(SegfreeAttentionGpu, RefusesWhatItCannotDo) {
  fgdm_attention_shape shape{1, 1, 16, 77, 48, FGDM_FLOAT16, FGDM_ARGMAX_MEAN};
  const DeviceArray<float> memory(std::vector<float>(64));
  const DeviceArray<unsigned char> mask(std::vector<unsigned char>(77));
  const auto launch = [&](const void* q) {
    return fgdm_segfree_attention(&shape, q, memory.data(), memory.data(), memory.data(),
                                  mask.data(), memory.data(), stream);
  };
  EXPECT_EQ(launch(memory.data()), cudaErrorInvalidValue);
  shape.head_size = 40;
  EXPECT_EQ(launch(nullptr), cudaErrorInvalidValue);
  EXPECT_EQ(launch(memory.data() + 1), cudaErrorInvalidValue);
}

}  // namespace
}  // namespace fgdm::kernels::test
