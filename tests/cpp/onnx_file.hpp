#pragma once

#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

#include "bundle_folder.hpp"
#include "fgdm/manifest.hpp"
#include "fgdm/session.hpp"

// Models of a few nodes, written without the onnx package: fields of onnx.proto by number.
namespace fgdm::testing {

class Message {
public:
  Message& number(int field, std::uint64_t value) {
    varint(static_cast<std::uint64_t>(field) << 3U);
    varint(value);
    return *this;
  }
  Message& bytes(int field, std::string_view value) {
    varint(static_cast<std::uint64_t>(field) << 3U | 2U);
    varint(value.size());
    text_ += value;
    return *this;
  }
  Message& message(int field, const Message& value) { return bytes(field, value.text_); }
  const std::string& text() const { return text_; }

private:
  void varint(std::uint64_t value) {
    for (; value > 127; value >>= 7U)
      text_ += static_cast<char>(value | 128U);
    text_ += static_cast<char>(value);
  }

  std::string text_;
};

inline constexpr int onnx_double = 11;

inline int onnx_type(DType dtype) {
  switch (dtype) {
  case DType::float32:
    return 1;
  case DType::uint8:
    return 2;
  case DType::int32:
    return 6;
  case DType::int64:
    return 7;
  case DType::boolean:
    return 9;
  case DType::float16:
    return 10;
  case DType::bfloat16:
    return 16;
  }
  return 0;
}

// A graph in the making. Dimensions of -1 are dynamic, each with a name of its own.
class OnnxGraph {
public:
  OnnxGraph& input(const std::string& name, int type, const std::vector<std::int64_t>& shape) {
    graph_.message(11, port(name, type, shape));
    return *this;
  }
  OnnxGraph& output(const std::string& name, int type, const std::vector<std::int64_t>& shape) {
    graph_.message(12, port(name, type, shape));
    return *this;
  }
  OnnxGraph& node(const std::string& op, std::initializer_list<std::string> inputs,
                  const std::string& output) {
    Message node;
    for (const auto& name : inputs)
      node.bytes(1, name);
    graph_.message(1, node.bytes(2, output).bytes(4, op));
    return *this;
  }
  // One zero, of as many dimensions.
  OnnxGraph& zero(const std::string& name, DType dtype, std::size_t rank) {
    Message tensor;
    for (std::size_t i = 0; i < rank; ++i)
      tensor.number(1, 1);
    tensor.number(2, static_cast<std::uint64_t>(onnx_type(dtype)))
        .bytes(8, name)
        .bytes(9, std::string(dtype_size(dtype), '\0'));
    graph_.message(5, tensor);
    return *this;
  }

  // The file's bytes.
  std::string model() const {
    auto graph = graph_;
    graph.bytes(2, "graph");
    return Message().number(1, 8).message(7, graph).message(8, Message().number(2, 17)).text();
  }

private:
  static Message port(const std::string& name, int type, const std::vector<std::int64_t>& shape) {
    Message dimensions;
    for (std::size_t i = 0; i < shape.size(); ++i)
      dimensions.message(1, shape[i] >= 0
                                ? Message().number(1, static_cast<std::uint64_t>(shape[i]))
                                : Message().bytes(2, name + "_" + std::to_string(i)));
    const auto tensor =
        Message().number(1, static_cast<std::uint64_t>(type)).message(2, dimensions);
    return Message().bytes(1, name).message(2, Message().message(1, tensor));
  }

  Message graph_;
};

// A model with these inputs, which nothing reads, and these outputs, each one zero.
inline std::string onnx_model(const GraphSpec& spec) {
  OnnxGraph graph;
  for (const auto& input : spec.inputs)
    graph.input(input.name, onnx_type(input.dtype), input.shape);
  for (const auto& output : spec.outputs) {
    const auto rank = output.shape.size();
    graph.zero("zero_" + output.name, output.dtype, rank)
        .node("Identity", {"zero_" + output.name}, output.name)
        .output(output.name, onnx_type(output.dtype), std::vector<std::int64_t>(rank, -1));
  }
  return graph.model();
}

// Such a model for each graph of a manifest.
inline void add_models(BundleFolder& folder, const Manifest& manifest) {
  for (const auto& [name, spec] : manifest.graphs)
    folder.add(spec.file, onnx_model(spec));
}

}  // namespace fgdm::testing
