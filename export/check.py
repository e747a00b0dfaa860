"""Every exported graph against PyTorch, on random inputs, before a bundle is accepted."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx_ir as ir
import onnxruntime
import torch
from numpy.typing import NDArray
from torch import Tensor

from .defaults import TOLERANCE
from .emulation import rounded
from .errors import ExportError
from .signature import Graph

#: (batch, height, width) of the latents, in multiples of what the graph divides; the exporter
#: traces at another shape. Three rows meet attn_scale -10, 0 and 1.
_SHAPES = ((3, 3, 2), (1, 2, 4))
_FLOAT_TYPES = {"tensor(float)": torch.float32, "tensor(float16)": torch.float16}


def check_graph(graph: Graph, path: Path, tolerance: float = TOLERANCE["fp32"]) -> float:
    """The largest error of `path` in ONNX Runtime against `graph.module`, over two shapes.

    The error is the largest absolute difference of an output over the largest absolute value of
    that output in PyTorch, which computes in float32. A float16 graph runs twice, as it is and with
    the rounding of a device that computes in float16.

    Raises:
        ExportError: the error is above `tolerance` or not a number; the message names the graph.
    """
    cases = []
    for seed, (batch, height, width) in enumerate(_SHAPES, start=1):
        inputs = graph.random_inputs(batch, height * graph.multiple, width * graph.multiple, seed)
        cases.append((inputs, run_module(graph, inputs)))
    worst = _compare(graph, open_session(path), cases, tolerance)
    if graph.precision == "fp16":
        worst = max(worst, _compare(graph, open_model(rounded(path), path), cases, tolerance))
    return worst


def _compare(
    graph: Graph,
    session: onnxruntime.InferenceSession,
    cases: list[tuple[dict[str, Tensor], list[NDArray[np.float32]]]],
    tolerance: float,
) -> float:
    worst = 0.0
    for inputs, expected in cases:
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
    return onnxruntime.InferenceSession(
        str(path), session_options(), providers=["CPUExecutionProvider"]
    )


def open_model(
    model: ir.Model, path: Path, options: onnxruntime.SessionOptions | None = None
) -> onnxruntime.InferenceSession:
    """A model made of the graph `path`, whose weights lie where that graph has them."""
    options = options or session_options()
    options.add_session_config_entry(
        "session.model_external_initializers_file_folder_path", str(path.parent)
    )
    content = ir.to_proto(model).SerializeToString()
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def session_options() -> onnxruntime.SessionOptions:
    """Basic optimisations only: the others take 2 GB more while a full-size backbone loads."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    return options


def run_module(graph: Graph, inputs: Mapping[str, Tensor]) -> list[NDArray[np.float32]]:
    """The outputs of the graph's module, in order."""
    with torch.no_grad():
        outputs = graph.module(*inputs.values())
    several = outputs if isinstance(outputs, tuple) else (outputs,)
    return [output.numpy() for output in several]


def run_session(
    session: onnxruntime.InferenceSession, inputs: Mapping[str, Tensor]
) -> dict[str, NDArray[np.float32]]:
    """The outputs of a session by name, each in its own type.

    Floats are given in the type that the graph takes. Inputs that it doesn't use are left out.
    """
    types = {entry.name: entry.type for entry in session.get_inputs()}
    feed = {
        name: value.to(_FLOAT_TYPES.get(types[name], value.dtype)).numpy()
        for name, value in inputs.items()
        if name in types
    }
    outputs = [entry.name for entry in session.get_outputs()]
    return dict(zip(outputs, session.run(outputs, feed), strict=True))


def relative_error(actual: NDArray[np.float32], expected: NDArray[np.float32]) -> float:
    """The largest absolute difference over the largest absolute value of `expected`."""
    if actual.shape != expected.shape:
        return float("inf")
    difference = np.abs(actual.astype(np.float64) - expected).max()
    scale = float(np.abs(expected).max())
    return float(difference) / scale if scale > 0 else float(difference)
