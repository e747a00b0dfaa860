"""The type that each node of a graph computes in, and the casts where types meet.

In float16 a graph is strongly typed: every tensor's type is in the graph, as TensorRT 11 and
TensorRT-RTX want it. Float16 has 11 significant bits and ends at 65504, so that the statistics of a
normalisation and the sums of a softmax can be lost in it. Following autocast's lists, there are
three kinds of nodes:

- matrix products (`_FLOAT16_OPS`) are float16: they are where the time goes;
- normalisations, softmax and sinusoids (`_FLOAT32_OPS`) are float32, and so is every node that the
  user keeps;
- any other node has the type of what comes in. Where both types come in it has the type that its
  readers want: a mask added to a softmax's scores is float32, a scale of a residual float16.

So the scale, shift and activation after a normalisation are float32 until the next product, and the
residual stream is float16. Weights have the type they are stored in and constants the type of their
node; a value is cast at most once to each type, right where it is made.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase

import numpy as np
import onnx
import onnx_ir as ir

from .errors import ExportError
from .functions import OPSET, add_function_bodies
from .op import OP_DOMAIN, OP_NAME
from .signature import Graph

_FLOAT, _HALF = ir.DataType.FLOAT, ir.DataType.FLOAT16

_FLOAT16_OPS = frozenset({"Conv", "ConvTranspose", "MatMul", "Gemm", OP_NAME})
_NORMALISATIONS = ("InstanceNormalization", "LayerNormalization", "GroupNormalization")
_REDUCTIONS = ("Softmax", "ReduceMean", "ReduceSum", "ReduceL2")
_FLOAT32_OPS = frozenset((*_NORMALISATIONS, *_REDUCTIONS, "Exp", "Log", "Pow", "Sin", "Cos"))
#: Their outputs' types don't depend on their inputs'.
_OWN_TYPE_OPS = frozenset({"Cast", "ConstantOfShape"})
#: Inputs of the op that have its type; the scale is always float32.
_OP_TYPED_INPUTS = 3


def assign_types(
    model: ir.Model,
    graph: Graph,
    stored: Mapping[str, ir.DataType],
    keep_fp32: Sequence[str] = (),
) -> None:
    """Give every node of a float32 graph its type for `graph.precision`, with casts between them.

    Args:
        model: as traced: all of it float32, constants as initializers, parameters as inputs.
        graph: its inputs and outputs get the types of their specs.
        stored: the type on disk of every parameter that is an input, by name.
        keep_fp32: patterns (`*`, `?`, `[…]`) of node names to keep in float32.

    Raises:
        ExportError: a pattern matches no node, or a constant overflows in float16.
    """
    _Assignment(model, graph, stored, keep_fp32).run()


def element_types(model: ir.Model) -> dict[str, int]:
    """ONNX element types by value name, inferred for a model without function bodies of its own."""
    proto = ir.to_proto(model)
    if not proto.functions:
        add_function_bodies(proto)
    inferred = onnx.shape_inference.infer_shapes(proto, check_type=True, strict_mode=True).graph
    types = {entry.name: entry.data_type for entry in inferred.initializer}
    for entry in (*inferred.value_info, *inferred.input, *inferred.output):
        types[entry.name] = entry.type.tensor_type.elem_type
    return types


class _Assignment:
    """One pass over the nodes in order; `types` and `weak` grow with it.

    weak: parameters and what is only parameters rearranged. They have a type, that of the file, but
    no say in that of a node which reads something else too.
    """

    def __init__(
        self,
        model: ir.Model,
        graph: Graph,
        stored: Mapping[str, ir.DataType],
        keep_fp32: Sequence[str],
    ) -> None:
        self.model, self.graph = model, graph
        self.types: dict[ir.Value, ir.DataType] = {}
        self.weak: set[ir.Value] = set()
        self.converted: dict[tuple[ir.Value, ir.DataType], ir.Value] = {}
        self.inferred: dict[str | None, int] = dict(element_types(model).items())
        self.is_float = {name for name, kind in self.inferred.items() if kind == _FLOAT}
        for value in model.graph.inputs:
            if value.name is not None and value.name in stored:
                self.types[value] = stored[value.name]
                self.weak.add(value)
        for spec in graph.inputs:
            value = next(entry for entry in model.graph.inputs if entry.name == spec.name)
            if value.name in self.is_float:
                self.types[value] = _HALF if spec.dtype == "float16" else _FLOAT
        self.float32_nodes = self._float32_nodes(keep_fp32)

    def run(self) -> None:
        self._remove_idle_casts()
        for node in list(self.model.graph):
            dtype = self._dtype(node)
            for index in self._typed_inputs(node):
                value = node.inputs[index]
                assert value is not None
                node.replace_input_with(index, self._convert(value, dtype, node))
            own = node.op_type in _OWN_TYPE_OPS
            for output in node.outputs:
                if output.name in self.is_float:
                    self.types[output] = _FLOAT if own else dtype
                    output.type = output.shape = None  # whoever reads the graph infers them
        for index, spec in enumerate(self.graph.outputs):
            dtype = _HALF if spec.dtype == "float16" else _FLOAT
            output = self.model.graph.outputs[index]
            if self.types[output] != dtype:
                output.name = f"{spec.name}.{self.types[output].name.lower()}"
                cast = self._cast(output, dtype)
                cast.name = spec.name
                self.model.graph.outputs[index] = cast

    def _float32_nodes(self, keep_fp32: Sequence[str]) -> set[ir.Node]:
        nodes = list(self.model.graph)
        if self.graph.precision == "fp32":
            return set(nodes)
        kept = {node for node in nodes if node.op_type in _FLOAT32_OPS}
        for pattern in keep_fp32:
            matching = {node for node in nodes if fnmatchcase(node.name or "", pattern)}
            if not matching:
                raise ExportError(
                    f"no node of graph {self.graph.name} is called {pattern!r}, which is to stay "
                    f"in float32; names are such as {nodes[len(nodes) // 2].name!r}"
                )
            kept |= matching
        return kept

    def _remove_idle_casts(self) -> None:
        """The modules' own casts to the type that is there, which would undo a float16."""
        for node in list(self.model.graph):
            if node.op_type != "Cast" or node.outputs[0].is_graph_output():
                continue
            source = node.inputs[0]
            if source is not None and self.inferred[source.name] == node.attributes["to"].as_int():
                node.outputs[0].replace_all_uses_with(source)
                self.model.graph.remove(node, safe=True)

    def _typed_inputs(self, node: ir.Node) -> list[int]:
        """Indices of the float inputs that must have the node's type."""
        if node.op_type in _OWN_TYPE_OPS:
            return []
        floats = [
            index
            for index, value in enumerate(node.inputs)
            if value is not None and value.name in self.is_float
        ]
        if node.domain == OP_DOMAIN:
            return [index for index in floats if index < _OP_TYPED_INPUTS]
        formal = onnx.defs.get_schema(node.op_type, OPSET, node.domain).inputs
        last = len(formal) - 1  # may stand for any number of inputs
        return [index for index in floats if formal[min(index, last)].type_str != "tensor(float)"]

    def _dtype(self, node: ir.Node) -> ir.DataType:
        if node in self.float32_nodes or node.op_type in _OWN_TYPE_OPS:
            return _FLOAT
        if node.op_type in _FLOAT16_OPS:
            return _HALF
        given = [node.inputs[index] for index in self._typed_inputs(node)]
        typed = [value for value in given if value in self.types]  # all but constants
        strong = {self.types[value] for value in typed if value not in self.weak}
        if not strong:
            types = {self.types[value] for value in typed}
            if types:
                self.weak.update(node.outputs)
            return types.pop() if len(types) == 1 else _FLOAT
        if len(strong) == 1:
            return strong.pop()
        readers = [use.node for output in node.outputs for use in output.uses()]
        only_float32 = bool(readers) and all(reader in self.float32_nodes for reader in readers)
        return _FLOAT if only_float32 else _HALF

    def _convert(self, value: ir.Value, dtype: ir.DataType, node: ir.Node) -> ir.Value:
        if value not in self.types:
            return self._constant(value, dtype, node)
        return value if self.types[value] == dtype else self._cast(value, dtype)

    def _constant(self, value: ir.Value, dtype: ir.DataType, node: ir.Node) -> ir.Value:
        if dtype == _FLOAT:
            return value
        if (value, dtype) not in self.converted:
            numbers = value.const_value.numpy()  # type: ignore[union-attr]
            with np.errstate(over="ignore"):
                half = numbers.astype(np.float16)
            if not np.array_equal(np.isfinite(numbers), np.isfinite(half)):
                raise ExportError(
                    f"graph {self.graph.name}: node {node.name} has a constant of "
                    f"{np.abs(numbers).max():g}, which float16 can't hold; keep the node in "
                    f"float32 with --keep-fp32 '{self.graph.name}/{node.name}'"
                )
            name = f"{value.name}.float16"
            constant = ir.Value(name=name, const_value=ir.tensor(half, name=name))
            self.model.graph.initializers[name] = constant
            self.converted[value, dtype] = constant
        return self.converted[value, dtype]

    def _cast(self, value: ir.Value, dtype: ir.DataType) -> ir.Value:
        if (value, dtype) not in self.converted:
            name = f"{value.name}.{dtype.name.lower()}"
            producer = value.producer()
            layer = value.name if producer is None else producer.name
            # Of a cast from another type, such as a whole number's, one cast is enough.
            source = producer.inputs[0] if producer and producer.op_type == "Cast" else value
            cast = ir.node("Cast", [source], {"to": dtype}, name=f"{layer}.to_{dtype.name.lower()}")
            if producer is None:
                self.model.graph.insert_before(self.model.graph[0], cast)
            else:
                self.model.graph.insert_after(producer, cast)
            cast.outputs[0].name = name
            self.types[cast.outputs[0]] = dtype
            self.converted[value, dtype] = cast.outputs[0]
        return self.converted[value, dtype]
