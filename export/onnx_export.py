"""From a graph's module to an ONNX file whose weights are the bundle's safetensors files.

The tracing exporter is used: it is tens of times faster than ``dynamo=True`` on a UNet with a
dynamic batch, height and width, where symbolic shapes take minutes, and leaves the weights as they
are. `check.py` compares every graph at shapes it was not traced at.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from pathlib import Path

import onnx
import onnx_ir as ir
import torch
from onnx_ir.passes import common as passes
from torch import nn
from torch.jit._trace import TracerWarning

from .errors import ExportError
from .functions import OPSET, add_function_bodies
from .precision import assign_types
from .signature import Graph, TensorSpec
from .weights import StoredTensor, WeightStore

IR_VERSION = 10
_IR_TYPES = {
    "float32": ir.DataType.FLOAT,
    "float16": ir.DataType.FLOAT16,
    "int64": ir.DataType.INT64,
    "bool": ir.DataType.BOOL,
}


def export_graph(graph: Graph, store: WeightStore, keep_fp32: Sequence[str] = ()) -> Path:
    """Write ``<graph.name>.onnx`` into the bundle and return its path.

    Every parameter is an initializer with the parameter's own layout and name that refers to the
    store's files; where a node needs it in another type a Cast follows, which runtimes fold on
    load. Nodes are named after their layer and op, ``down_blocks.0.resnets.1.conv1.Conv``.

    Args:
        keep_fp32: patterns of nodes that stay in float32; see `precision.assign_types`.

    Raises:
        ExportError: the graph needs a parameter of a model that the store hasn't saved, or can't
            have the types that were asked for.
    """
    model = _trace(graph)
    _own_parameters(model, graph.module)
    _lift_buffers(model, graph.module)
    for node in model.graph:
        node.name = (node.name or "").strip("/").replace("/", ".")
    # The parameters are still inputs of the graph, so that no pass can touch or move them.
    ir.passes.Sequential(
        passes.IdentityEliminationPass(),
        passes.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0),
        passes.DeduplicateInitializersPass(),
        passes.CommonSubexpressionEliminationPass(),
        passes.RemoveUnusedNodesPass(),
        passes.ClearMetadataAndDocStringPass(),
    )(model)
    stored = _find_weights(model, graph, store)
    assign_types(model, graph, {name: entry.dtype for name, entry in stored.items()}, keep_fp32)
    _attach_weights(model, stored, store.root)
    passes.RemoveUnusedNodesPass()(model)
    _describe(model, graph)
    path = store.root / f"{graph.name}.onnx"
    proto = ir.to_proto(model)
    add_function_bodies(proto)
    path.write_bytes(proto.SerializeToString(deterministic=True))
    onnx.checker.check_model(str(path), full_check=True)
    return path


def _trace(graph: Graph) -> ir.Model:
    """The module's operations, with its parameters as inputs."""
    height, width = 2 * graph.multiple, 3 * graph.multiple
    inputs = graph.random_inputs(2, height, width, seed=0)
    dynamic = {
        spec.name: {i: size for i, size in enumerate(spec.shape) if isinstance(size, str)}
        for spec in graph.inputs
    }
    buffer = io.BytesIO()
    with torch.no_grad(), warnings.catch_warnings():
        # diffusers asserts and branches on sizes; none of the branches changes what is computed.
        warnings.simplefilter("ignore", TracerWarning)
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.filterwarnings("ignore", "Constant folding", UserWarning)
        torch.onnx.export(
            graph.module.eval(),
            tuple(inputs.values()),
            buffer,  # type: ignore[arg-type]  # the tracing exporter takes streams
            dynamo=False,
            export_params=False,
            do_constant_folding=False,
            opset_version=OPSET,
            input_names=list(inputs),
            output_names=[spec.name for spec in graph.outputs],
            dynamic_axes=dynamic,
        )
    model: ir.Model = ir.from_proto(onnx.load_from_string(buffer.getvalue()))
    # The tracer drops an input that nothing uses, such as a plain adapter's timestep.
    there = {value.name for value in model.graph.inputs}
    for spec in graph.inputs:
        if spec.name not in there:
            unused = ir.Value(name=spec.name)
            _set_type(unused, spec)
            model.graph.inputs.append(unused)
    return model


def _own_parameters(model: ir.Model, module: nn.Module) -> None:
    """Give every parameter its own input again: the tracer makes equal ones copies of the first."""
    names = dict(module.named_parameters())
    for node in list(model.graph):
        output = node.outputs[0]
        if node.op_type == "Identity" and output.name in names:
            name, source = output.name, node.inputs[0]
            output.name = f"{name}.copy"
            own = ir.Value(name=name, shape=source.shape, type=source.type)  # type: ignore[union-attr]
            model.graph.inputs.append(own)
            output.replace_all_uses_with(own)
            model.graph.remove(node, safe=True)


def _lift_buffers(model: ir.Model, module: nn.Module) -> None:
    """Turn the inputs that are buffers into constants."""
    buffers = dict(module.named_buffers())
    for value in list(model.graph.inputs):
        if value.name in buffers:
            value.const_value = ir.tensor(buffers[value.name].numpy(), name=value.name)
            model.graph.inputs.remove(value)
            model.graph.initializers[value.name] = value


def _find_weights(model: ir.Model, graph: Graph, store: WeightStore) -> dict[str, StoredTensor]:
    """Where the parameters that the graph reads are stored. Those it doesn't read are removed."""
    parameters = dict(graph.module.named_parameters())
    declared = {spec.name for spec in graph.inputs}
    stored: dict[str, StoredTensor] = {}
    for value in list(model.graph.inputs):
        name = value.name or ""
        if name in declared:
            continue
        if not value.uses():
            model.graph.inputs.remove(value)
            continue
        found = store.find(parameters[name])
        if found is None:
            raise ExportError(f"{graph.name}: the bundle stores no tensor for parameter {name}")
        stored[name] = found
    return stored


def _attach_weights(model: ir.Model, stored: dict[str, StoredTensor], root: Path) -> None:
    """Turn the inputs that are parameters into initializers in the store's files."""
    for value in list(model.graph.inputs):
        if value.name not in stored:
            continue
        tensor = stored[value.name]
        model.graph.inputs.remove(value)
        value.shape, value.type = ir.Shape(tensor.shape), ir.TensorType(tensor.dtype)
        value.const_value = tensor.external(value.name, root)
        model.graph.initializers[value.name] = value


def _describe(model: ir.Model, graph: Graph) -> None:
    """Declared inputs and outputs, in order, with their symbols; names that don't repeat paths."""
    model.ir_version = IR_VERSION
    model.producer_name, model.producer_version = "fgdm", None
    model.graph.name = graph.name
    by_name = {value.name: value for value in model.graph.inputs}
    for specs, values in (
        (graph.inputs, [by_name[spec.name] for spec in graph.inputs]),
        (graph.outputs, list(model.graph.outputs)),
    ):
        for spec, value in zip(specs, values, strict=True):
            _set_type(value, spec)
    model.graph.inputs[:] = [by_name[spec.name] for spec in graph.inputs]
    kept = {spec.name for spec in (*graph.inputs, *graph.outputs)}
    for number, node in enumerate(model.graph):
        for output in node.outputs:
            if output.name not in kept:
                output.name = f"v{number}"


def _set_type(value: ir.Value, spec: TensorSpec) -> None:
    value.shape = ir.Shape(spec.shape)
    value.type = ir.TensorType(_IR_TYPES[spec.dtype])
