#pragma once

#include <functional>
#include <vector>

#include "fgdm/bundle.hpp"
#include "fgdm/engine.hpp"
#include "fgdm/recall.hpp"
#include "graphs.hpp"
#include "request.hpp"

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
  std::vector<Pixels> decode(const std::vector<float>& latents, int rows, const FactorSize& size);
  void sample_maps(const FactorSpec& factor, std::uint32_t factor_index);
  void measure_map(const Palette& palette, const Pixels& picture, int index);
  std::vector<float> hint(const FactorSpec& factor) const;
  void step_done(const StepInfo& info);

  const Bundle& bundle_;
  const Manifest& manifest_;
  Graphs& graphs_;
  int max_batch_rows_;
  Request request_;
  StepCallback callback_;
  std::function<void()> check_;

  std::vector<float> contexts_;  // negative, then positive prompt, of the current factor
  std::vector<int> requested_;
  std::vector<MapRecall> recalls_;
  std::vector<std::uint8_t> chosen_labels_;  // snapped: every pixel has a class
  FactorSize chosen_size_{};
  const Palette* chosen_palette_ = nullptr;
  Result result_;
  Timings timings_;
};

}  // namespace fgdm
