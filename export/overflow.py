"""Whether anything in a float16 graph outgrows float16 while real prompts are sampled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path

import onnxruntime

from .calibration import Call
from .check import open_model, run_session, session_options
from .emulation import measured
from .errors import ExportError
from .signature import Graph

#: Float16 ends at 65504; what comes this near to it will pass it with another prompt.
LARGEST = 60000.0
_NAMED_NODES = 3


@dataclass(frozen=True)
class Magnitude:
    """The largest absolute value that a node has put out; infinite for what isn't a number."""

    node: str
    value: float


def check_overflow(graph: Graph, path: Path, calls: Sequence[Call]) -> Magnitude | None:
    """The largest value of any float16 node of `path` over the given calls, computed in float32.

    None if all of the graph was kept in float32.

    Raises:
        ExportError: it is above `LARGEST` or not a number; the message names the nodes.
    """
    largest = _largest_by_node(path, calls)
    outgrown = [node for node, value in largest.items() if value > LARGEST]
    if outgrown:
        named = ", ".join(
            f"{node} reaches {largest[node]:.4g}"
            if isfinite(largest[node])
            else f"{node} isn't finite even in float32"
            for node in outgrown[:_NAMED_NODES]
        )
        more = len(outgrown) - _NAMED_NODES
        raise ExportError(
            f"graph {graph.name} overflows in float16, which ends at 65504, on the calibration "
            f"prompts: {named}{f', and {more} more nodes' if more > 0 else ''}. Keep the graph in "
            f"float32 with --keep-fp32 '{graph.name}/*', or only these nodes and those that read "
            "them; or export with --precision fp32"
        )
    if not largest:
        return None
    node = max(largest, key=largest.__getitem__)
    return Magnitude(node, largest[node])


def _largest_by_node(path: Path, calls: Sequence[Call]) -> dict[str, float]:
    """By node, in the order of the graph."""
    model, probes = measured(path)
    if not probes:
        return {}
    options = session_options()
    # In the order of the graph, so that every value is freed as soon as it has been looked at.
    options.execution_order = onnxruntime.ExecutionOrder.PRIORITY_BASED
    session = open_model(model, path, options)
    largest: dict[str, float] = {}
    for call in calls:
        for output, value in run_session(session, call).items():
            node = probes[output]
            largest[node] = max(float(value), largest.get(node, 0.0))
    return largest
