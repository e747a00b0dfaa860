"""What a runtime parses and then can't build, known before any build starts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import onnx
from onnx import TensorProto

from ..errors import ExportError

#: Head sizes that TensorRT-RTX 1.7.1 built ONNX's Attention for, each tried in float16 and bfloat16
#: for sm_89: 12 to 256. 4, 8, 264, 320 and 512 failed.
_HEAD_SIZES = range(9, 257)


def check_buildable(target: str, path: Path) -> None:
    """Refuses a graph with an Attention (opset 23) that TensorRT-RTX parses and can't build.

    Measured with 1.7.1: with queries of rank 4 it has no kernel for float32, nor for some head
    sizes. With queries of rank 3 it builds them all.

    Raises:
        ExportError: the message names the nodes, at most three.
    """
    if target != "tensorrt-rtx":
        return
    model = onnx.load(path, load_external_data=False)
    if not any(_is_attention(node) for node in model.graph.node):
        return
    problems = list(_problems(onnx.shape_inference.infer_shapes(model)))
    if problems:
        more = f"; and {len(problems) - 3} more" if len(problems) > 3 else ""
        raise ExportError(
            f"{target} can't build {path.name}: {'; '.join(problems[:3])}{more}. Give Attention "
            "queries, keys and values of rank 3 with q_num_heads, or write it as MatMul and Softmax"
        )


def _problems(model: onnx.ModelProto) -> Iterator[str]:
    graph = model.graph
    values = {value.name: value for value in (*graph.input, *graph.value_info, *graph.output)}
    weights = {tensor.name: (tensor.data_type, list(tensor.dims)) for tensor in graph.initializer}
    for node in filter(_is_attention, graph.node):
        query = node.input[0]
        if query in weights:
            dtype, shape = weights[query]
        elif query in values:
            tensor = values[query].type.tensor_type
            dtype, shape = tensor.elem_type, [size.dim_value for size in tensor.shape.dim]
        else:
            continue  # of a type that ONNX can't infer: the runtime has the last word
        if len(shape) != 4:
            continue
        name = f"node {node.name or node.output[0]} (Attention)"
        if dtype == TensorProto.FLOAT:
            yield f"{name} computes in float32"
        elif shape[3] and shape[3] not in _HEAD_SIZES:
            least, most = _HEAD_SIZES[0], _HEAD_SIZES[-1]
            yield f"{name} has heads of {shape[3]}, expected {least} to {most}"


def _is_attention(node: onnx.NodeProto) -> bool:
    return bool(node.op_type == "Attention" and node.domain in ("", "ai.onnx"))
