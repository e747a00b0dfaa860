#pragma once

#include <algorithm>
#include <cmath>
#include <functional>
#include <map>
#include <memory>
#include <string>

#include "far_device.hpp"
#include "fgdm/bundle.hpp"
#include "fgdm/session.hpp"
#include "graphs.hpp"

namespace fgdm::testing {

inline const Bundle& scenes() {
  static const auto bundle = Bundle::open(std::filesystem::path(FGDM_BUNDLES) / "scenes");
  return bundle;
}

// A graph without weights: every output row is a smooth function of the rows of all inputs at the
// same place, and of nothing else, as a network's is. `hook` is called at the end of every run: it
// may look at the call, spoil its outputs, or throw.
class FakeSession final : public Session {
public:
  using Hook = std::function<void(std::span<const NamedTensor>, std::span<const NamedTensor>)>;

  FakeSession(const GraphSpec& spec, Hook hook)
      : inputs_(spec.inputs), outputs_(spec.outputs), hook_(std::move(hook)) {}

  std::span<const TensorSpec> inputs() const override { return inputs_; }
  std::span<const TensorSpec> outputs() const override { return outputs_; }

  void run(std::span<const NamedTensor> inputs, std::span<const NamedTensor> outputs) override {
    const auto rows = static_cast<std::size_t>(outputs.front().tensor.shape.front());
    for (std::size_t row = 0; row < rows; ++row) {
      double sum = 0.1;
      for (const auto& input : inputs)
        sum += weigh(input, row);
      for (const auto& output : outputs) {
        const auto size = output.tensor.elements() / rows;
        if (output.tensor.dtype != DType::float32) {  // zeros, whatever the type
          const auto bytes = size * dtype_size(output.tensor.dtype);
          std::fill_n(static_cast<char*>(numbers_of(output.tensor)) + row * bytes, bytes, '\0');
          continue;
        }
        auto* values = static_cast<float*>(numbers_of(output.tensor)) + row * size;
        for (std::size_t i = 0; i < size; ++i)
          values[i] = static_cast<float>(std::sin(sum + 0.7 * static_cast<double>(i)));
      }
    }
    if (hook_)
      hook_(inputs, outputs);
  }

private:
  // A number between -1 and 1 for one row of an input.
  static double weigh(const NamedTensor& input, std::size_t row) {
    const auto rows = static_cast<std::size_t>(input.tensor.shape.front());
    const auto size = input.tensor.elements() / rows;
    double sum = 0;
    const auto add = [&](const auto* values) {
      for (std::size_t i = 0; i < size; i += 1 + size / 64)
        sum += static_cast<double>(values[row * size + i]) * (1.0 + 0.01 * static_cast<double>(i));
    };
    switch (input.tensor.dtype) {
    case DType::float32:
      add(static_cast<const float*>(numbers_of(input.tensor)));
      break;
    case DType::int64:
      add(static_cast<const std::int64_t*>(numbers_of(input.tensor)));
      break;
    default:
      add(static_cast<const std::uint8_t*>(numbers_of(input.tensor)));
    }
    return std::sin(sum);
  }

  std::vector<TensorSpec> inputs_, outputs_;
  Hook hook_;
};

// Fakes for all graphs of a bundle; `hook` gets the graph's name too.
inline Graphs fake_graphs(const Manifest& manifest,
                          const std::function<void(const std::string&, std::span<const NamedTensor>,
                                                   std::span<const NamedTensor>)>& hook = {},
                          const std::filesystem::path& trace = {},
                          std::shared_ptr<Device> device = host_device()) {
  Graphs::Sessions sessions;
  for (const auto& [name, spec] : manifest.graphs) {
    FakeSession::Hook call;
    if (hook)
      call = [hook, graph = name](auto inputs, auto outputs) { hook(graph, inputs, outputs); };
    sessions[name] = std::make_unique<FakeSession>(spec, std::move(call));
  }
  return Graphs(std::move(sessions), trace, std::move(device));
}

}  // namespace fgdm::testing
