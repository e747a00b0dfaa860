"""Keeps the weights of an ONNX graph in half the space."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def halve_weights(graph: onnx.GraphProto) -> None:
    """Weights in float32 become float16, each with a Cast to float32; scalars stay."""
    casts = []
    for weight in graph.initializer:
        if weight.data_type != TensorProto.FLOAT or not weight.dims:
            continue
        name, values = weight.name, numpy_helper.to_array(weight)
        stored = f"{name}.float16"
        weight.CopyFrom(numpy_helper.from_array(values.astype(np.float16), stored))
        casts.append(helper.make_node("Cast", [stored], [name], to=TensorProto.FLOAT))
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
