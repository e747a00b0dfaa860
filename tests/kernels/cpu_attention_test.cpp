// The processor's kernels for the op, every one that this machine can run, and the loops of the
// widest, against float64.

#include <cmath>
#include <limits>
#include <vector>

#include <gtest/gtest.h>

#include "attention.hpp"
#include "attention_case.hpp"
#include "reference.hpp"
#include "wide_attention.hpp"

namespace fgdm::kernels::test {
namespace {

constexpr float nan = std::numeric_limits<float>::quiet_NaN();
constexpr float infinity = std::numeric_limits<float>::infinity();

// Behind its end, scratch memory and the output hold what nobody may touch.
class Guarded {
public:
  explicit Guarded(std::size_t size) : values_(size + guard, mark), size_(size) {}
  float* data() { return values_.data(); }
  std::vector<float> taken() const {
    for (std::size_t i = size_; i < values_.size(); ++i)
      EXPECT_EQ(values_[i], mark) << "written behind the end";
    return {values_.begin(), values_.begin() + static_cast<std::ptrdiff_t>(size_)};
  }

private:
  static constexpr std::size_t guard = 64;
  static constexpr float mark = 12345.0F;
  std::vector<float> values_;
  std::size_t size_;
};

std::vector<double> run(const cpu::AttentionKernel& kernel, const AttentionCase& given,
                        int threads = 1) {
  const auto q = stored<float>(given.q), k = stored<float>(given.k), v = stored<float>(given.v);
  Guarded out(q.size());
  Guarded scratch(kernel.scratch(given.shape));
  for (const auto& part : cpu::attention_parts(given.shape, threads))
    kernel.run(given.shape,
               {q.data(), k.data(), v.data(), given.attn_scale.data(), given.argmax_mask.data(),
                out.data()},
               part, scratch.data());
  scratch.taken();
  return widened(out.taken());
}

class CpuAttention : public ::testing::TestWithParam<cpu::AttentionKernel> {};

std::vector<cpu::AttentionKernel> kernels() {
  const auto found = cpu::attention_kernels();
  std::vector<cpu::AttentionKernel> all(found.begin(), found.end());
  all.push_back(cpu::attention_wide);
  return all;
}

INSTANTIATE_TEST_SUITE_P(Kernels, CpuAttention, ::testing::ValuesIn(kernels()),
                         [](const auto& made) { return std::string(made.param.name); });

TEST_P(CpuAttention, MatchesFloat64AtEveryHeadSize) {
  for (const auto argmax : {FGDM_ARGMAX_MEAN, FGDM_ARGMAX_PER_HEAD})
    for (const int head_size : {1, 3, 8, 16, 20, 40, 64, 80, 160}) {
      SCOPED_TRACE(head_size);
      const fgdm_attention_shape shape{3, 2, 37, 77, head_size, FGDM_FLOAT32, argmax};
      EXPECT_EQ(compare(random_case(shape, 1), run(GetParam(), random_case(shape, 1))), "");
    }
}

TEST_P(CpuAttention, MatchesFloat64AtOddSizes) {
  for (const int tokens : {1, 2, 7, 16, 77, 81, 154, 231})
    for (const int patches : {1, 3, 31, 33, 64, 70}) {
      SCOPED_TRACE(std::to_string(tokens) + " tokens, " + std::to_string(patches) + " patches");
      const fgdm_attention_shape shape{2, 3, patches, tokens, 24, FGDM_FLOAT32, FGDM_ARGMAX_MEAN};
      EXPECT_EQ(compare(random_case(shape, 2), run(GetParam(), random_case(shape, 2))), "");
    }
}

TEST_P(CpuAttention, MatchesFloat64WhereItIsHard) {
  for (const auto argmax : {FGDM_ARGMAX_MEAN, FGDM_ARGMAX_PER_HEAD})
    for (const auto& given : adversarial_cases(FGDM_FLOAT32, argmax))
      EXPECT_EQ(compare(given, run(GetParam(), given)), "");
}

// The tolerance of compare() is wide for what float32 can do.
TEST_P(CpuAttention, IsAsExactAsFloat32) {
  const fgdm_attention_shape shape{2, 8, 64, 77, 40, FGDM_FLOAT32, FGDM_ARGMAX_MEAN};
  auto given = random_case(shape, 3);
  given.attn_scale = {1.0F, 1.0F};  // no token is chosen, so none by a hair
  std::vector<double> expected(given.q.size());
  reference::segfree_attention(shape, given.q, given.k, given.v, given.attn_scale,
                               given.argmax_mask, expected);
  const auto found = run(GetParam(), given);
  for (std::size_t i = 0; i < found.size(); ++i)
    ASSERT_NEAR(found[i], expected[i], 2e-6) << i;
}

TEST_P(CpuAttention, DoesNotDependOnHowWorkIsCut) {
  const fgdm_attention_shape shape{3, 4, 200, 77, 40, FGDM_FLOAT32, FGDM_ARGMAX_MEAN};
  const auto given = random_case(shape, 4);
  const auto whole = run(GetParam(), given);
  ASSERT_GT(cpu::attention_parts(shape, 64).size(), cpu::attention_parts(shape, 1).size());
  EXPECT_EQ(run(GetParam(), given, 64), whole);
}

// What isn't a number stays one, and reaches only what the reference has it reach.
TEST_P(CpuAttention, NanAndInfinityGoWhereTheReferenceHasThem) {
  const fgdm_attention_shape shape{2, 2, 35, 77, 24, FGDM_FLOAT32, FGDM_ARGMAX_MEAN};
  for (const double wrong : {double{nan}, double{infinity}, -double{infinity}})
    for (const bool in_key : {true, false}) {
      SCOPED_TRACE(std::to_string(wrong) + (in_key ? " in a key" : " in a query"));
      auto given = random_case(shape, 5);
      (in_key ? given.key(0, 1, 70, 5) : given.query(0, 1, 3, 5)) = wrong;
      std::vector<double> expected(given.q.size());
      reference::segfree_attention(shape, given.q, given.k, given.v, given.attn_scale,
                                   given.argmax_mask, expected);
      const auto found = run(GetParam(), given);
      std::size_t without = 0;
      for (std::size_t i = 0; i < found.size(); ++i) {
        ASSERT_EQ(std::isfinite(found[i]), std::isfinite(expected[i])) << i;
        without += std::isfinite(found[i]) ? 1 : 0;
      }
      EXPECT_LT(without, found.size());
      EXPECT_GT(without, found.size() / 2);
    }
}

TEST_P(CpuAttention, AMinusInfiniteScoreLeavesItsTokenOut) {
  const fgdm_attention_shape shape{1, 1, 4, 9, 8, FGDM_FLOAT32, FGDM_ARGMAX_MEAN};
  auto given = random_case(shape, 6);
  for (double& value : given.q)
    value = std::abs(value) + 0.1;
  for (int channel = 0; channel < shape.head_size; ++channel)
    given.key(0, 0, 4, channel) = -double{infinity};
  EXPECT_EQ(compare(given, run(GetParam(), given)), "");
}

}  // namespace
}  // namespace fgdm::kernels::test
