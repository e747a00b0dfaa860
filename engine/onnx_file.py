"""What an ONNX file is called with, calls and defines, read without the package onnx.

Tools that rewrite graphs can drop the op's body, rename it, or remove inputs; the file still
passes ONNX's checker. Reads protobuf's wire format by the field numbers of onnx.proto.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from fgdm.errors import BundleError
from fgdm.manifest import Graph

#: The one op of ours; `export/op.py` writes it.
OP = ("fgdm", "SegFreeAttention")

_STANDARD = ("", "ai.onnx")
# Fields of ModelProto, GraphProto, NodeProto, FunctionProto and ValueInfoProto.
_GRAPH, _FUNCTIONS = 7, 25
_NODE, _INPUT, _OUTPUT = 1, 11, 12
_NODE_INPUT, _NODE_OP, _NODE_DOMAIN = 1, 4, 7
_FUNCTION_NAME, _FUNCTION_INPUT, _FUNCTION_DOMAIN = 1, 4, 10
_VALUE_NAME = 1

Name = tuple[str, str]


@dataclass(frozen=True)
class OnnxFile:
    """calls: each call of an op outside the standard domain, with how many inputs it is given.

    functions: the number of inputs of each function that the file defines. Both are named by
    (domain, op). inputs, outputs: names of the graph's own.
    """

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    calls: tuple[tuple[Name, int], ...]
    functions: dict[Name, int]

    @property
    def attentions(self) -> int:
        """Nodes of the op of ours."""
        return sum(name == OP for name, _ in self.calls)


def read_onnx(content: bytes, source: str) -> OnnxFile:
    """Reads the bytes of a model; `source` names it in errors (BundleError)."""
    inputs: list[str] = []
    outputs: list[str] = []
    calls: list[tuple[Name, int]] = []
    functions: dict[Name, int] = {}
    graphs = 0
    try:
        for number, value in _fields(memoryview(content)):
            if number == _GRAPH:
                graphs += 1
                for part, item in _fields(value):
                    if part == _NODE:
                        calls.append(_call(item))
                    elif part in (_INPUT, _OUTPUT):
                        (inputs if part == _INPUT else outputs).append(_text(item, _VALUE_NAME))
            elif number == _FUNCTIONS:
                name = (_text(value, _FUNCTION_DOMAIN), _text(value, _FUNCTION_NAME))
                functions[name] = sum(part == _FUNCTION_INPUT for part, _ in _fields(value))
    except (IndexError, ValueError):  # UnicodeDecodeError is a ValueError
        graphs = 0
    if graphs != 1:
        raise BundleError(f"{source} isn't an ONNX model; export the bundle again")
    ours = tuple(call for call in calls if call[0][0] not in _STANDARD)
    return OnnxFile(tuple(inputs), tuple(outputs), ours, functions)


def gaps(file: OnnxFile, graph: Graph) -> list[str]:
    """What a graph of the manifest lacks to run as exported, a sentence each; nothing if sound."""
    found = []
    for kind, ports, here in (
        ("input", graph.inputs, file.inputs),
        ("output", graph.outputs, file.outputs),
    ):
        lost = [port.name for port in ports if port.name not in here]
        if lost:
            found.append(f"the {kind} {', '.join(lost)} is missing")
    for (name, given), count in Counter(file.calls).items():
        called = f"{count} node{'s' if count > 1 else ''} of {'::'.join(name)}"
        if name[0] == OP[0] and name != OP:
            found.append(f"{called}, which was {'::'.join(OP)}: it has been renamed")
        elif name not in file.functions:
            found.append(f"{called}, whose function body is missing")
        elif given != file.functions[name]:
            found.append(f"{called} with {given} inputs, expected {file.functions[name]}")
    return found


def check_graph(content: bytes, graph: Graph) -> OnnxFile:
    """Reads the file of a manifest's graph. BundleError if it isn't ONNX, or has `gaps`."""
    file = read_onnx(content, graph.file)
    problems = gaps(file, graph)
    if problems:
        raise BundleError(
            f"{graph.file} has been changed since its export: {'; '.join(problems)}. Some tools "
            "that rewrite ONNX graphs do this (docs/surprises.md); export the bundle again"
        )
    return file


def _call(node: memoryview) -> tuple[Name, int]:
    inputs = [value for number, value in _fields(node) if number == _NODE_INPUT]
    while inputs and not len(inputs[-1]):  # an optional input that is left out has an empty name
        inputs.pop()
    return (_text(node, _NODE_DOMAIN), _text(node, _NODE_OP)), len(inputs)


def _text(message: memoryview, wanted: int) -> str:
    """The last value of a text field, as protobuf has it; "" if there is none."""
    found = ""
    for number, value in _fields(message):
        if number == wanted:
            found = bytes(value).decode()
    return found


def _fields(message: memoryview) -> Iterator[tuple[int, memoryview]]:
    """The number and bytes of every length-delimited field; the others are stepped over."""
    place = 0
    while place < len(message):
        key, place = _varint(message, place)
        number, wire = key >> 3, key & 7
        if wire == 0:
            _, place = _varint(message, place)
            continue
        if wire == 2:
            length, place = _varint(message, place)
        elif wire in (1, 5):
            length = 8 if wire == 1 else 4
        else:
            raise ValueError
        if number == 0 or place + length > len(message):
            raise ValueError
        if wire == 2:
            yield number, message[place : place + length]
        place += length


def _varint(message: memoryview, place: int) -> tuple[int, int]:
    """A number and the place behind it."""
    value = 0
    for shift in range(0, 70, 7):
        byte = message[place]
        place += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, place
    raise ValueError
