"""`fgdm::SegFreeAttention` as a model-local ONNX function, so that any runtime can run it."""

from __future__ import annotations

import onnx
from onnx import parser

from .op import OP_DOMAIN, OP_NAME, OP_VERSION

OPSET = 18

# The strongest token is marked by comparing token numbers with the argmax: one pass over (B, P, T),
# where scattering would touch memory at random. The scores come in the type of q, the softmax is
# float32 whatever that is.
_BODY = f"""
<domain: "{OP_DOMAIN}", opset_import: ["" : {OPSET}]>
{OP_NAME} <plugin_version: string = "{OP_VERSION}", plugin_namespace: string = "{OP_DOMAIN}">
    (q, k, v, attn_scale, argmax_mask) => (out)
{{
    zero = Constant <value_ints: ints = [0]> ()
    one = Constant <value_ints: ints = [1]> ()
    two = Constant <value_ints: ints = [2]> ()
    last = Constant <value_ints: ints = [-1]> ()
    first_number = Constant <value_int: int = 0> ()
    step = Constant <value_int: int = 1> ()
    plain = Constant <value: tensor = float {{1.0}}> ()
    never = Constant <value: tensor = float {{-1.0}}> ()

    width = Shape <start: int = 3, end: int = 4> (q)
    float_width = Cast <to: int = 1> (width)
    root = Sqrt (float_width)
    scale = Reciprocal (root)
    typed_scale = CastLike (scale, q)
    scaled = Mul (q, typed_scale)
    keys = Transpose <perm: ints = [0, 1, 3, 2]> (k)
    scores = MatMul (scaled, keys)
    float_scores = Cast <to: int = 1> (scores)
    weights = Softmax <axis: int = -1> (float_scores)

    allowed = Unsqueeze (argmax_mask, one)
    mean = ReduceMean <keepdims: int = 0> (weights, one)
    candidates = Where (allowed, mean, never)
    strongest = ArgMax <axis: int = -1, keepdims: int = 1, select_last_index: int = 0> (candidates)
    tokens = Shape <start: int = 1, end: int = 2> (argmax_mask)
    count = Squeeze (tokens, zero)
    numbers = Range (first_number, count, step)
    is_strongest = Equal (numbers, strongest)
    is_scaled = And (is_strongest, allowed)

    float_scale = Cast <to: int = 1> (attn_scale)
    axes = Concat <axis: int = 0> (one, two)
    row_scale = Unsqueeze (float_scale, axes)
    factor = Where (is_scaled, row_scale, plain)
    head_factor = Unsqueeze (factor, one)
    scaled_weights = Mul (weights, head_factor)
    typed_weights = CastLike (scaled_weights, v)
    out = MatMul (typed_weights, v)
}}
"""


def add_function_bodies(model: onnx.ModelProto) -> None:
    """Add the op's body, and its domain's version, to a model that has nodes of it."""
    if any(node.domain == OP_DOMAIN for node in model.graph.node):
        if not any(imported.domain == OP_DOMAIN for imported in model.opset_import):
            model.opset_import.append(onnx.helper.make_opsetid(OP_DOMAIN, OP_VERSION))
        model.functions.append(segfree_attention_function())


def segfree_attention_function() -> onnx.FunctionProto:
    """The op's body (DESIGN's five steps) in opset-18 standard ops; any B, H, P, T and d."""
    return parser.parse_function(_BODY)
