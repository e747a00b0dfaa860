#include "external_weights.hpp"

#include <charconv>
#include <string_view>
#include <utility>

#include "fgdm/error.hpp"

namespace fgdm::ort {
namespace {

using Message = std::span<const std::byte>;

// Fields of onnx.proto: of ModelProto, GraphProto, TensorProto and StringStringEntryProto.
constexpr std::uint64_t model_graph = 7, graph_initializer = 5, tensor_dims = 1, tensor_type = 2,
                        tensor_name = 8, tensor_external_data = 13, tensor_location = 14,
                        entry_key = 1, entry_value = 2;
constexpr std::uint64_t location_external = 1;

[[noreturn]] void refuse() {
  throw BackendError("it is no ONNX model, or damaged");
}

std::uint64_t take_varint(Message& rest) {
  std::uint64_t value = 0;
  for (unsigned shift = 0; shift < 64 && !rest.empty(); shift += 7) {
    const auto byte = std::to_integer<std::uint64_t>(rest.front());
    rest = rest.subspan(1);
    value |= (byte & 0x7FU) << shift;
    if (byte < 0x80)
      return value;
  }
  refuse();
}

Message take(Message& rest, std::uint64_t size) {
  if (size > rest.size())
    refuse();
  const auto taken = rest.first(static_cast<std::size_t>(size));
  rest = rest.subspan(taken.size());
  return taken;
}

// A field of a protobuf message: its number, and what it holds.
struct Field {
  std::uint64_t key = 0;
  std::uint64_t number = 0;        // of a varint
  std::optional<Message> message;  // of what has a length
};

// Calls a function with each field of a message.
template <typename Call> void for_fields(Message rest, const Call& call) {
  while (!rest.empty()) {
    const auto tag = take_varint(rest);
    Field field{tag >> 3U, 0, {}};
    switch (tag & 7U) {
    case 0:
      field.number = take_varint(rest);
      break;
    case 1:
      take(rest, 8);
      break;
    case 2:
      field.message = take(rest, take_varint(rest));
      break;
    case 5:
      take(rest, 4);
      break;
    default:
      refuse();
    }
    call(field);
  }
}

// The message in a field.
Message message_of(const Field& field) {
  if (!field.message)
    refuse();
  return *field.message;
}

std::string text_of(const Field& field) {
  const auto bytes = message_of(field);
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

std::uint64_t number_of(std::string_view text) {
  std::uint64_t value = 0;
  const auto* end = text.data() + text.size();
  const auto [rest, failure] = std::from_chars(text.data(), end, value);
  if (failure != std::errc() || rest != end)
    refuse();
  return value;
}

void read_place(Message entry, ExternalWeight& weight) {
  std::string key, value;
  for_fields(entry, [&](const Field& field) {
    if (field.key == entry_key)
      key = text_of(field);
    else if (field.key == entry_value)
      value = text_of(field);
  });
  if (key == "location")
    weight.file = value;
  else if (key == "offset")
    weight.offset = number_of(value);
  else if (key == "length")
    weight.size = number_of(value);
}

// Nothing of a weight that lies in the model itself.
std::optional<ExternalWeight> read_weight(Message tensor) {
  ExternalWeight weight{};
  bool is_external = false;
  for_fields(tensor, [&](const Field& field) {
    if (field.key == tensor_dims && !field.message)
      weight.shape.push_back(static_cast<std::int64_t>(field.number));
    else if (field.key == tensor_dims)
      for (auto packed = *field.message; !packed.empty();)
        weight.shape.push_back(static_cast<std::int64_t>(take_varint(packed)));
    else if (field.key == tensor_type)
      weight.type = static_cast<int>(field.number);
    else if (field.key == tensor_name)
      weight.name = text_of(field);
    else if (field.key == tensor_external_data)
      read_place(message_of(field), weight);
    else if (field.key == tensor_location)
      is_external = field.number == location_external;
  });
  return is_external ? std::optional(std::move(weight)) : std::nullopt;
}

}  // namespace

std::vector<ExternalWeight> external_weights(std::span<const std::byte> model) {
  std::vector<ExternalWeight> found;
  for_fields(model, [&](const Field& of_model) {
    if (of_model.key != model_graph)
      return;
    for_fields(message_of(of_model), [&](const Field& of_graph) {
      if (of_graph.key != graph_initializer)
        return;
      if (auto weight = read_weight(message_of(of_graph)))
        found.push_back(std::move(*weight));
    });
  });
  return found;
}

}  // namespace fgdm::ort
