"""Exports graphs into a bundle one after the other, and checks each before the next."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import nn

from .calibration import Call
from .check import check_graph
from .errors import ExportError
from .manifest import CheckedGraph
from .onnx_export import export_graph
from .overflow import check_overflow
from .progress import Progress
from .signature import Graph
from .weights import WeightStore


def export_graphs(
    store: WeightStore,
    graphs: Sequence[Graph],
    kept: Mapping[str, Sequence[str]],
    calls: Mapping[str, Sequence[Call]],
    tolerance: float,
    progress: Progress,
) -> list[CheckedGraph]:
    """Write every graph into the store's bundle, compared with PyTorch.

    The parameters of a graph that no later one needs are freed.

    Args:
        kept: patterns of the nodes that stay in float32, by graph; see `kept_nodes`.
        calls: what the graphs meet while prompts are sampled, to find what overflows in float16;
            empty for float32.

    Raises:
        ExportError: a graph failed a check, or a pattern names no node.
    """
    checked: list[CheckedGraph] = []
    for graph in graphs:
        progress(f"export {graph.name}", len(checked), len(graphs))
        path = export_graph(graph, store, kept[graph.name])
        # First, since what overflows also differs, but with a message that says less.
        largest = check_overflow(graph, path, calls[graph.name]) if calls else None
        error = check_graph(graph, path, tolerance)
        checked.append(CheckedGraph(graph, path.name, error, tolerance, largest))
        _release(graph, graphs[len(checked) :])
        progress(f"{graph.name}: largest error {error:.1e}", len(checked), len(graphs))
    return checked


def kept_nodes(patterns: Sequence[str], graphs: Iterable[Graph]) -> dict[str, list[str]]:
    """Patterns of node names by graph, from ``GRAPH/NODES``; ExportError for another form."""
    kept: dict[str, list[str]] = {graph.name: [] for graph in graphs}
    for pattern in patterns:
        name, separator, nodes = pattern.partition("/")
        if name not in kept or not separator:
            raise ExportError(
                f"can't keep {pattern!r} in float32; expected GRAPH/NODES, such as "
                f"'{next(iter(kept))}/*', with one of the graphs {', '.join(kept)}"
            )
        kept[name].append(nodes)
    return kept


def _release(graph: Graph, remaining: Sequence[Graph]) -> None:
    """Free the parameters that no other graph needs; a bundle's models are large together."""
    needed: set[nn.Parameter] = {
        parameter for other in remaining for parameter in other.module.parameters()
    }
    for parameter in graph.module.parameters():
        if parameter not in needed:
            parameter.data = torch.empty(0)
