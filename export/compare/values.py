"""The values inside a graph, and the graph with some of them as its outputs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import onnx
from onnx import inliner

#: What their outputs hold is known before the graph runs, or says only how large something is.
_PLAIN = frozenset({"Constant", "ConstantOfShape", "Shape", "Size"})


@dataclass(frozen=True)
class Value:
    """name: of the tensor. layer: of the node that makes it, as the exporter named it. kind: the
    node's operator."""

    name: str
    layer: str
    kind: str


class Values:
    """A graph's values in the order in which it makes them; functions are opened up.

    outputs: the graph's own. inner: all that nodes make, those among them.
    """

    def __init__(self, path: Path) -> None:
        self._model = inliner.inline_local_functions(onnx.load(path, load_external_data=False))
        graph = self._model.graph
        self.inner = [
            Value(name, node.name or name, node.op_type)
            for node in graph.node
            if node.op_type not in _PLAIN
            for name in node.output
            if name
        ]
        made = {value.name: value for value in self.inner}
        self.outputs = [made[output.name] for output in graph.output]

    def model(self, names: Sequence[str]) -> onnx.ModelProto:
        """The graph whose outputs are the values named. Weights lie where they were."""
        model = onnx.ModelProto()
        model.CopyFrom(self._model)
        known = {output.name: output for output in self._model.graph.output}
        del model.graph.output[:]
        model.graph.output.extend(known.get(name, onnx.ValueInfoProto(name=name)) for name in names)
        return model
