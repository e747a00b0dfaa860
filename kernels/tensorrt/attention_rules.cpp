#include "attention_rules.hpp"

#include <climits>
#include <cstring>
#include <stdexcept>

namespace fgdm::plugin {
namespace {

constexpr std::uint32_t magic = 0x41534746;  // "FGSA"
constexpr std::uint32_t format = 1;

constexpr std::array<const char*, num_inputs> names{"q", "k", "v", "attn_scale", "argmax_mask"};
constexpr std::array<int, num_inputs> ranks{4, 4, 4, 1, 2};

bool is_float(ElementType type) {
  return type == ElementType::float32 || type == ElementType::float16 ||
         type == ElementType::bfloat16;
}

// A dimension of one input that must be the same as one of another.
struct Pair {
  int input, dimension, other, other_dimension;
  const char* meaning;
};

constexpr std::array<Pair, 10> pairs{{{position_k, 0, position_q, 0, "batch"},
                                      {position_v, 0, position_q, 0, "batch"},
                                      {position_scale, 0, position_q, 0, "batch"},
                                      {position_mask, 0, position_q, 0, "batch"},
                                      {position_k, 1, position_q, 1, "heads"},
                                      {position_v, 1, position_q, 1, "heads"},
                                      {position_v, 2, position_k, 2, "tokens"},
                                      {position_mask, 1, position_k, 2, "tokens"},
                                      {position_k, 3, position_q, 3, "head size"},
                                      {position_v, 3, position_q, 3, "head size"}}};

std::string described(int input, const Extents& extents) {
  std::string text = std::string(names[static_cast<std::size_t>(input)]) + " (";
  for (int i = 0; i < extents.rank; ++i)
    text += (i > 0 ? ", " : "") + std::to_string(extents.values[static_cast<std::size_t>(i)]);
  return text + ")";
}

int as_int(std::int64_t extent) {
  if (extent < 0 || extent > INT_MAX)
    throw std::invalid_argument("an extent of " + std::to_string(extent) +
                                " is out of range, expected 0 to 2147483647");
  return static_cast<int>(extent);
}

}  // namespace

bool accepts(std::span<const Proposal> proposals, ElementType mask_type) {
  const Proposal& last = proposals.back();
  if (!last.linear)
    return false;
  switch (proposals.size() - 1) {
  case position_q:
    return is_float(last.type);
  case position_k:
  case position_v:
  case position_out:
    return last.type == proposals.front().type;
  case position_scale:
    return last.type == ElementType::float32;
  case position_mask:
    return last.type == mask_type;
  default:
    return false;
  }
}

std::string problem_of(std::span<const Extents, num_inputs> inputs) {
  for (int i = 0; i < num_inputs; ++i) {
    const auto index = static_cast<std::size_t>(i);
    if (inputs[index].rank != ranks[index])
      return described(i, inputs[index]) + " has " + std::to_string(inputs[index].rank) +
             " dimensions, expected " + std::to_string(ranks[index]);
  }
  const auto extent = [&](int input, int dimension) {
    return inputs[static_cast<std::size_t>(input)].values[static_cast<std::size_t>(dimension)];
  };
  for (const Pair& pair : pairs) {
    const auto one = extent(pair.input, pair.dimension);
    const auto other = extent(pair.other, pair.other_dimension);
    if (one >= 0 && other >= 0 && one != other)
      return described(pair.input, inputs[static_cast<std::size_t>(pair.input)]) + " and " +
             described(pair.other, inputs[static_cast<std::size_t>(pair.other)]) +
             " differ in their " + pair.meaning;
  }
  return "";
}

fgdm_attention_shape attention_shape(std::span<const Extents, num_inputs> inputs, ElementType type,
                                     fgdm_argmax argmax) {
  if (const auto problem = problem_of(inputs); !problem.empty())
    throw std::invalid_argument(problem);
  if (!is_float(type))
    throw std::invalid_argument("q has a type that is none of float32, float16 and bfloat16");
  const auto& q = inputs[position_q].values;
  return {as_int(q[0]),
          as_int(q[1]),
          as_int(q[2]),
          as_int(inputs[position_k].values[2]),
          as_int(q[3]),
          type == ElementType::float32   ? FGDM_FLOAT32
          : type == ElementType::float16 ? FGDM_FLOAT16
                                         : FGDM_BFLOAT16,
          argmax};
}

std::optional<fgdm_argmax> argmax_from_name(std::string_view name) {
  // A field's length may count the terminating zero.
  if (!name.empty() && name.back() == '\0')
    name.remove_suffix(1);
  for (const auto argmax : {FGDM_ARGMAX_MEAN, FGDM_ARGMAX_PER_HEAD})
    if (name == argmax_name(argmax))
      return argmax;
  return std::nullopt;
}

const char* argmax_name(fgdm_argmax argmax) {
  return argmax == FGDM_ARGMAX_MEAN ? "mean" : "per_head";
}

const char* timing_cache_id(fgdm_argmax argmax) {
  return argmax == FGDM_ARGMAX_MEAN ? "fgdm::SegFreeAttention:1:mean"
                                    : "fgdm::SegFreeAttention:1:per_head";
}

Serialized serialize(fgdm_argmax argmax) {
  const std::array<std::uint32_t, 3> words{magic, format, static_cast<std::uint32_t>(argmax)};
  Serialized bytes;
  std::memcpy(bytes.data(), words.data(), bytes.size());
  return bytes;
}

fgdm_argmax deserialize(std::span<const std::byte> bytes) {
  std::array<std::uint32_t, 3> words{};
  if (bytes.size() != sizeof(words))
    throw std::invalid_argument("the plan holds " + std::to_string(bytes.size()) +
                                " bytes for a SegFreeAttention node, expected " +
                                std::to_string(sizeof(words)));
  std::memcpy(words.data(), bytes.data(), sizeof(words));
  if (words[0] != magic || words[1] != format || words[2] > FGDM_ARGMAX_PER_HEAD)
    throw std::invalid_argument(
        "the plan's SegFreeAttention node was written by another version of the plugin; build the "
        "plan again with this one");
  return static_cast<fgdm_argmax>(words[2]);
}

}  // namespace fgdm::plugin
