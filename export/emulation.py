"""Float16 graphs on a processor that computes in float32, as if it computed in float16.

ONNX Runtime's CPU provider runs most operations of a float16 graph in float32 and drops the casts
between them, so that neither float16's rounding nor its overflow is to be seen there. The graphs
made here are float32 throughout. `rounded` has an explicit cast to float16 and back behind every
node whose output is float16 on a device; sums inside a node stay float32, as on tensor cores.
`measured` rounds nothing, and puts out the largest magnitude of each of those nodes instead.

Both are for ONNX Runtime's CPU provider, which keeps a cast to float16 and back; OpenVINO removes
the pair, and would find nothing (openvino 2026.4.1). `check.open_model` is where they run.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import onnx_ir as ir
from onnx_ir.passes import common as passes

from .precision import element_types

_FLOAT, _HALF = ir.DataType.FLOAT, ir.DataType.FLOAT16
_LAYER = "layer"

#: Their outputs are their inputs, moved about.
_MOVES = frozenset(
    {
        *("Concat", "Expand", "Gather", "Identity", "Pad", "Reshape"),
        *("Slice", "Split", "Squeeze", "Transpose", "Unsqueeze"),
    }
)


def rounded(path: Path) -> ir.Model:
    """The float16 graph `path` with float16's rounding, inputs and outputs in float32."""

    def add_rounding(graph: ir.Graph, node: ir.Node, output: ir.Value) -> None:
        down = ir.node("Cast", [output], {"to": _HALF})
        up = ir.node("Cast", [down.outputs[0]], {"to": _FLOAT})
        output.replace_all_uses_with(up.outputs[0], replace_graph_outputs=True)
        down.replace_input_with(0, output)
        graph.insert_after(node, [down, up])
        up.outputs[0].name, output.name = output.name, f"{output.name}.exact"

    return _in_float32(path, add_rounding)


def measured(path: Path) -> tuple[ir.Model, dict[str, str]]:
    """The float16 graph `path` without rounding; its outputs are the largest magnitudes.

    A value that isn't a number counts as infinite. ReduceMax must not see it: runtimes lose NaN
    there or keep it, depending on the order of the elements (onnxruntime 1.31.1, openvino
    2026.4.1).

    Returns the model and, for each of its outputs, the name of the node that it is about.
    """
    probes: dict[str, str] = {}
    outputs: list[ir.Value] = []

    def add_probe(graph: ir.Graph, node: ir.Node, output: ir.Value) -> None:
        magnitude = ir.node("Abs", [output])
        undefined = ir.node("IsNaN", [output])
        infinite = ir.node("Constant", [], {"value_float": math.inf})
        known = ir.node("Where", [undefined.outputs[0], infinite.outputs[0], magnitude.outputs[0]])
        largest = ir.node("ReduceMax", [known.outputs[0]], {"keepdims": 0})
        graph.insert_after(node, [magnitude, undefined, infinite, known, largest])
        result = largest.outputs[0]
        result.name, result.type = f"{output.name}.largest", ir.TensorType(_FLOAT)
        result.shape = ir.Shape([])
        outputs.append(result)
        probes[result.name] = node.metadata_props[_LAYER]

    model = _in_float32(path, add_probe)
    model.graph.outputs[:] = outputs
    return model, probes


def _in_float32(path: Path, visit: Callable[[ir.Graph, ir.Node, ir.Value], None]) -> ir.Model:
    """A float16 graph as a float32 one; `visit` is called for each node that was float16."""
    model = ir.load(path)
    for node in model.graph:
        node.metadata_props[_LAYER] = node.name or ""  # the inliner hands it on
    passes.InlinePass()(model)
    halves = {name for name, kind in element_types(model).items() if kind == _HALF}
    graph = model.graph
    for value in [*graph.inputs, *graph.outputs]:
        if value.name in halves:
            value.type = ir.TensorType(_FLOAT)
    for value in list(graph.initializers.values()):
        if value.name in halves:
            cast = ir.node("Cast", [value], {"to": _FLOAT})
            value.replace_all_uses_with(cast.outputs[0])
            cast.replace_input_with(0, value)
            graph.insert_before(graph[0], cast)
    for node in list(graph):
        output = node.outputs[0]
        if output.name not in halves:
            continue
        if node.op_type == "Cast":
            node.attributes["to"] = ir.AttrInt64("to", _FLOAT)
        if node.op_type not in _MOVES:
            visit(graph, node, output)
    return model
