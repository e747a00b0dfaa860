#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "fgdm/kernels.h"

// What the plugin decides without a device: which types it takes, what comes out, how its attribute
// is read and kept. No TensorRT header is needed, so that every rule has a test.
namespace fgdm::plugin {

// The op's names, as graphs and parsers know them.
inline constexpr const char* op_name = "SegFreeAttention";
inline constexpr const char* op_version = "1";
inline constexpr const char* op_namespace = "fgdm";
inline constexpr const char* argmax_field = "argmax";

// The tensors of a node, inputs first: q (B, H, P, d), k (B, H, T, d), v (B, H, T, d),
// attn_scale (B), argmax_mask (B, T); out as q.
enum Position { position_q, position_k, position_v, position_scale, position_mask, position_out };
inline constexpr int num_inputs = 5;
inline constexpr int num_outputs = 1;

enum class ElementType { float32, float16, bfloat16, boolean, int32, other };

// A tensor as the builder proposes it; `linear` is row-major without padding.
struct Proposal {
  ElementType type;
  bool linear;
};

// Whether the node can have `proposals.back()` at its position, given the ones before it. q, k, v
// and out have one type, float32, float16 or bfloat16; attn_scale is float32; argmax_mask has
// `mask_type`, which is boolean where plugins can have that (TensorRT 10) and int32 before.
bool accepts(std::span<const Proposal> proposals, ElementType mask_type);

// The extents of a tensor; -1 where the builder doesn't know one yet.
struct Extents {
  static constexpr int most = 4;
  int rank = 0;
  std::array<std::int64_t, most> values{};
};

// What is wrong with a node's inputs as far as their extents are known; empty if nothing is.
std::string problem_of(std::span<const Extents, num_inputs> inputs);

// The shape that the kernel wants. Throws std::invalid_argument if the inputs don't fit each other
// or if `type` is none of the kernel's.
fgdm_attention_shape attention_shape(std::span<const Extents, num_inputs> inputs, ElementType type,
                                     fgdm_argmax argmax);

// The attribute `argmax`: "mean" (over heads, the default) or "per_head". Nothing for other words.
std::optional<fgdm_argmax> argmax_from_name(std::string_view name);
const char* argmax_name(fgdm_argmax argmax);

// Distinguishes timings in TensorRT's cache: one for each version and attribute of the op.
const char* timing_cache_id(fgdm_argmax argmax);

// What a plan keeps of a node, for TensorRT 8, which wants bytes (version 10 keeps fields).
using Serialized = std::array<std::byte, 12>;
Serialized serialize(fgdm_argmax argmax);

// Throws std::invalid_argument for what serialize() didn't write.
fgdm_argmax deserialize(std::span<const std::byte> bytes);

}  // namespace fgdm::plugin
