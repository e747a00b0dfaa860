#pragma once

#include <map>
#include <string>
#include <vector>

#include "fgdm/manifest.hpp"
#include "graphs.hpp"
#include "request.hpp"
#include "row_buffer.hpp"

namespace fgdm {

// The rows of one step, as the backbone is about to see them. Where guided, the negative rows of
// all candidates come first, then their positive rows.
struct StepRows {
  std::size_t candidates;
  std::size_t count;  // candidates, or twice that where guided
  bool same_text;     // every row carries the positive prompt
  RowBuffer sample, timestep, context;
};

// Zeros for `most_rows` rows of a residual, which `tensor` names and types.
RowBuffer residual_buffer(const Manifest& manifest, const TensorSpec& tensor,
                          const FactorSize& size, std::size_t most_rows);

// One conditioning network of a factor, and the residuals it makes for the backbone.
class ConditioningNetwork {
public:
  // `scale` weighs a network that sees a control image; `most_rows` is the largest StepRows::count.
  ConditioningNetwork(const Manifest& manifest, const ConditioningSpec& spec,
                      const FactorSize& size, std::size_t most_rows, float scale, Graphs& graphs);

  const ConditioningSpec& spec() const { return spec_; }

  // Shows the network its control image, (3, height, width) in 0..1, which serves all rows. A
  // T2I-Adapter is done with that; a ControlNet runs its hint encoder.
  void see(std::span<const float> rgb, Timings& timings);

  // Runs the network for one step, where it depends on the step. Rows that would come out alike
  // are computed once and copied.
  void run(StepRows& rows, Timings& timings);

  // The residual that the backbone calls `name`; null if this network has none.
  RowBuffer* residual(const std::string& name);

private:
  std::vector<NamedTensor> outputs(std::size_t rows);
  void repeat(std::size_t rows, std::size_t total);

  const Manifest& manifest_;
  const ConditioningSpec& spec_;
  Graphs& graphs_;
  FactorSize size_;
  std::size_t most_rows_;
  std::string stage_;  // what its time is booked under
  RowBuffer hint_, scale_;
  std::map<std::string, RowBuffer> residuals_;
};

}  // namespace fgdm
