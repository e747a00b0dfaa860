#pragma once

#include <functional>
#include <map>
#include <vector>

#include "fgdm/bundle.hpp"
#include "fgdm/engine.hpp"
#include "fgdm/recall.hpp"
#include "graphs.hpp"
#include "request.hpp"
#include "row_buffer.hpp"

namespace fgdm {

// The whole chain for one request: text, every factor in the manifest's order, selection by recall
// after each condition factor, and the picture.
class Pipeline {
public:
  // `check` is called between steps and between stages, and throws to stop.
  Pipeline(const Bundle& bundle, Graphs& graphs, int max_batch_rows, const Request& resolved,
           StepCallback callback, std::function<void()> check);

  Result run();

private:
  void encode_texts(const FactorSpec& factor);
  std::vector<float> initial_latents(const FactorSpec& factor, std::uint32_t factor_index,
                                     int candidates) const;
  std::vector<float> denoise(const FactorSpec& factor, std::uint32_t factor_index, int candidates);
  std::vector<Pixels> decode(const std::string& decoder, std::span<const float> latents, int rows,
                             const FactorSize& size);
  void sample_maps(const FactorSpec& factor, std::uint32_t factor_index);
  void measure_map(const Palette& palette, const Pixels& picture, int index);
  std::vector<float> control_image(const FactorSpec& factor, const ConditioningSpec& network) const;
  void step_done(StepInfo info, const FactorSize& size);

  const Bundle& bundle_;
  const Manifest& manifest_;
  Graphs& graphs_;
  int max_batch_rows_;
  Request request_;
  StepCallback callback_;
  std::function<void()> check_;

  // The map that was kept of a condition factor.
  struct ChosenMap {
    const Palette* palette;
    FactorSize size;
    std::vector<std::uint8_t> labels;  // snapped: every pixel has a class
  };

  RowBuffer contexts_;  // negative, then positive prompt, of the current factor
  std::vector<int> requested_;
  std::vector<MapRecall> recalls_;
  std::map<std::string, ChosenMap> chosen_;  // by factor
  Result result_;
  Timings timings_;
};

}  // namespace fgdm
