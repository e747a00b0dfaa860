"""A compiled engine's layers, inputs and outputs, as the runtime describes them.

A machine with a GPU deserialises the plan and asks it. Without one, TensorRT-RTX still describes
the engine that it has just built in its log, which is the next best thing to asking the plan.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import ExportError

_DTYPES = {
    "float": "float32",
    "half": "float16",
    "bf16": "bfloat16",
    "bfloat16": "bfloat16",
    "int64": "int64",
    "int32": "int32",
    "bool": "bool",
}
_NODE = re.compile(r"\[ONNX Layer: ([^\]]*)\]")
_LAYER = re.compile(r"Name: (.*?), LayerType: ([^,]*),.*Metadata:(.*)")
_TENSOR = re.compile(
    r" Name: (.*?), IOMode: (\w+), DataType: (\w+), Dimensions: \[([\d,-]*)\],.*ProfileInfo: (.*)"
)
_RANGE = re.compile(r"MinShape: \[([\d,]*)\], OptShape: \[([\d,]*)\], MaxShape: \[([\d,]*)\]")

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Layer:
    """A compiled layer; nodes: the ONNX nodes that were fused into it."""

    name: str
    kind: str
    nodes: tuple[str, ...]


@dataclass(frozen=True)
class Tensor:
    """An input or output; ranges: per profile its least, optimal and largest shape (inputs)."""

    name: str
    is_input: bool
    dtype: str
    shape: Shape
    ranges: tuple[tuple[Shape, ...], ...]


@dataclass(frozen=True)
class Description:
    layers: tuple[Layer, ...]
    tensors: tuple[Tensor, ...]


def from_log(message: str) -> Description:
    """From the message in which TensorRT-RTX lists layers and "I/O Tensors" after a build."""
    layers, tensors = [], []
    for line in message.splitlines():
        if match := _LAYER.fullmatch(line):
            layers.append(Layer(match[1], match[2], _nodes(match[3])))
        elif match := _TENSOR.fullmatch(line):
            ranges = tuple(tuple(map(_shape, found)) for found in _RANGE.findall(match[5]))
            dtype = _DTYPES.get(match[3].lower(), match[3])
            tensors.append(Tensor(match[1], match[2] == "Input", dtype, _shape(match[4]), ranges))
    return Description(tuple(layers), tuple(tensors))


def from_engine(trt: Any, engine: Any, profiles: int) -> Description:
    """From a deserialised engine and its inspector."""
    inspector = engine.create_engine_inspector()
    listed = json.loads(inspector.get_engine_information(trt.LayerInformationFormat.JSON))
    layers = tuple(_inspected(layer) for layer in listed.get("Layers", ()))
    tensors = []
    for index in range(engine.num_io_tensors):
        name = engine.get_tensor_name(index)
        is_input = engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT
        dtype = str(engine.get_tensor_dtype(name)).rsplit(".", maxsplit=1)[-1].lower()
        ranges = tuple(
            tuple(tuple(shape) for shape in engine.get_tensor_profile_shape(name, profile))
            for profile in range(profiles if is_input else 0)
        )
        shape = tuple(engine.get_tensor_shape(name))
        tensors.append(Tensor(name, is_input, _DTYPES.get(dtype, dtype), shape, ranges))
    return Description(layers, tuple(tensors))


def check(description: Description, covers: Mapping[str, Any]) -> None:
    """Compares inputs, outputs and profiles with what was ordered.

    Raises:
        ExportError: one is missing, or has another type or shape; the message names it.
    """
    found = {tensor.name: tensor for tensor in description.tensors}
    expected = {item["name"]: item for item in (*covers["inputs"], *covers["outputs"])}
    problems = [f"{name} is missing" for name in expected.keys() - found.keys()]
    problems += [f"{name} wasn't expected" for name in found.keys() - expected.keys()]
    for name in expected.keys() & found.keys():
        tensor, wanted = found[name], expected[name]
        if tensor.dtype != wanted["dtype"]:
            problems.append(f"{name} is {tensor.dtype}, expected {wanted['dtype']}")
        ordered = [tuple(shape) for shape in wanted["shapes"]]
        if tensor.is_input:
            # An input without a dynamic size has a shape, but no profile.
            actual = [set(shapes) for shapes in tensor.ranges] or [{tensor.shape}] * len(ordered)
            fits = actual == [{shape} for shape in ordered]
        else:
            # Of several profiles the runtimes tell the first one's output, or dynamic sizes.
            fits = _agree(tensor.shape, ordered[0])
        if not fits:
            shown = tensor.ranges or tensor.shape
            problems.append(f"{name} has the shapes {shown}, expected {ordered}")
    if problems:
        raise ExportError(
            f"the plan of {covers['graph']} isn't what was ordered: {'; '.join(sorted(problems))}. "
            "It was not kept; please report this with the runtime's version"
        )


def _agree(actual: Shape, expected: Shape) -> bool:
    """Whether shapes agree where both are known; a dynamic size is -1."""
    pairs = zip(actual, expected, strict=False)
    return len(actual) == len(expected) and all(a in (-1, e) for a, e in pairs)


def _inspected(layer: Any) -> Layer:
    if not isinstance(layer, dict):
        return Layer(str(layer), "", ())
    kind = layer.get("LayerType", layer.get("Type", ""))
    return Layer(str(layer.get("Name", "")), str(kind), _nodes(str(layer.get("Metadata", ""))))


def _nodes(metadata: str) -> tuple[str, ...]:
    return tuple(_NODE.findall(metadata))


def _shape(text: str) -> Shape:
    return tuple(int(size) for size in text.split(",") if size)
