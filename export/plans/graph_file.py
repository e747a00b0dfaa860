"""What an ONNX file says of itself: the weight files it refers to, and the op's function body."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError

from ..errors import ExportError
from ..op import OP_DOMAIN, OP_VERSION


@dataclass(frozen=True)
class GraphFile:
    """An ONNX graph without its weights.

    weight_files: those that it refers to, relative to the bundle.
    weight_bytes: of its weights in the types it computes in, which is what a plan holds: a weight
        stored in float16 and cast to float32 counts twice.
    op: name of the model-local function in the domain "fgdm"; None if there is none.
    op_version: the ``plugin_version`` attribute of its nodes, or ours where they carry none.
    """

    path: Path
    weight_files: tuple[str, ...]
    weight_bytes: int
    op: str | None
    op_version: str


def read_graph_file(bundle: Path, file: str) -> GraphFile:
    """Reads bundle/file, but none of its weights.

    Raises:
        ExportError: it isn't an ONNX model, or one of its weights lies outside the bundle.
    """
    path = bundle / file
    model = _load(path)
    widened = {
        node.input[0]
        for node in model.graph.node
        if node.op_type == "Cast" and _attribute(node, "to") == onnx.TensorProto.FLOAT
    }
    files: set[str] = set()
    count = 0
    for tensor in model.graph.initializer:
        if tensor.data_location != onnx.TensorProto.EXTERNAL:
            continue
        place = {entry.key: entry.value for entry in tensor.external_data}
        location = Path(place["location"])
        if location.is_absolute() or ".." in location.parts:
            raise ExportError(f"{file}: the weights {str(location)!r} lie outside the bundle")
        files.add(location.as_posix())
        doubled = tensor.data_type == onnx.TensorProto.FLOAT16 and tensor.name in widened
        length = int(place.get("length") or (bundle / location).stat().st_size)
        count += 2 * length if doubled else length
    ops = [function.name for function in model.functions if function.domain == OP_DOMAIN]
    versions = [_attribute(node, "plugin_version") for node in model.graph.node if _is_op(node)]
    version = next((v.decode() for v in versions if isinstance(v, bytes)), str(OP_VERSION))
    return GraphFile(path, tuple(sorted(files)), count, ops[0] if ops else None, version)


def graph_bytes(path: Path, *, strip_op: bool) -> bytes:
    """The model as it stands, or without the op's function body so that a plugin takes its place.

    Raises:
        ExportError: it isn't an ONNX model.
    """
    if not strip_op:
        return path.read_bytes()
    model = _load(path)
    kept = [function for function in model.functions if function.domain != OP_DOMAIN]
    del model.functions[:]
    model.functions.extend(kept)
    return bytes(model.SerializeToString())


def _load(path: Path) -> onnx.ModelProto:
    try:
        return onnx.load(path, load_external_data=False)
    except (OSError, DecodeError) as error:
        raise ExportError(
            f"can't read the graph {path}: {error}; export the bundle again"
        ) from error


def _is_op(node: onnx.NodeProto) -> bool:
    return bool(node.domain == OP_DOMAIN)


def _attribute(node: onnx.NodeProto, name: str) -> object:
    """The value of a node's attribute; None if it has none of that name."""
    for attribute in node.attribute:
        if attribute.name == name:
            return onnx.helper.get_attribute_value(attribute)
    return None
