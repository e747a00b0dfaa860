"""Every exported graph against PyTorch, on random inputs, before a bundle is accepted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray
from torch import Tensor

from .defaults import TOLERANCE
from .errors import ExportError
from .signature import Graph

#: (batch, height, width) of the latents, in multiples of what the graph divides; the exporter
#: traces at another shape. Three rows meet attn_scale -10, 0 and 1.
_SHAPES = ((3, 3, 2), (1, 2, 4))


def check_graph(graph: Graph, path: Path, tolerance: float = TOLERANCE) -> float:
    """The largest error of `path` in ONNX Runtime against `graph.module`, over two shapes.

    The error is the largest absolute difference of an output over the largest absolute value of
    that output in PyTorch.

    Raises:
        ExportError: the error is above `tolerance` or not a number; the message names the graph.
    """
    session = open_session(path)
    worst = 0.0
    for seed, (batch, height, width) in enumerate(_SHAPES, start=1):
        inputs = graph.random_inputs(batch, height * graph.multiple, width * graph.multiple, seed)
        expected = run_module(graph, inputs)
        actual = run_session(session, inputs)
        for spec, reference in zip(graph.outputs, expected, strict=True):
            error = relative_error(actual[spec.name], reference)
            if not error <= tolerance:
                shapes = {name: tuple(value.shape) for name, value in inputs.items()}
                raise ExportError(
                    f"graph {graph.name}: output {spec.name} differs from PyTorch by {error:.2e} "
                    f"of its scale, and {tolerance:.0e} is allowed (inputs {shapes}). "
                    "No bundle was written"
                )
            worst = max(worst, error)
    return worst


def open_session(path: Path) -> onnxruntime.InferenceSession:
    """The graph on ONNX Runtime's CPU provider, with as many threads as PyTorch uses."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def run_module(graph: Graph, inputs: dict[str, Tensor]) -> list[NDArray[np.float32]]:
    """The outputs of the graph's module, in order."""
    with torch.no_grad():
        outputs = graph.module(*inputs.values())
    several = outputs if isinstance(outputs, tuple) else (outputs,)
    return [output.numpy() for output in several]


def run_session(
    session: onnxruntime.InferenceSession, inputs: dict[str, Tensor]
) -> dict[str, NDArray[np.float32]]:
    """The outputs of a session by name. Inputs that the graph doesn't use are left out."""
    names = {entry.name for entry in session.get_inputs()}
    feed = {name: value.numpy() for name, value in inputs.items() if name in names}
    outputs = [entry.name for entry in session.get_outputs()]
    return dict(zip(outputs, session.run(outputs, feed), strict=True))


def relative_error(actual: NDArray[np.float32], expected: NDArray[np.float32]) -> float:
    """The largest absolute difference over the largest absolute value of `expected`."""
    if actual.shape != expected.shape:
        return float("inf")
    difference = np.abs(actual.astype(np.float64) - expected).max()
    scale = float(np.abs(expected).max())
    return float(difference) / scale if scale > 0 else float(difference)
