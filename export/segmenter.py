"""Adds the graph that reads maps from pictures; a bundle's other files stay byte for byte."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from fgdm import __version__
from fgdm.engine import Engine
from fgdm.errors import Error
from fgdm.manifest import MANIFEST, SCHEMA

from .addition import copy_bundle, read_bundle
from .errors import ExportError
from .manifest import describe_file, save_manifest
from .output import replacing

#: Its name among a bundle's graphs.
SEGMENTER = "segmenter"


def add_segmenter(bundle: Path, file: Path) -> Path:
    """Put the ONNX graph in `file` into the bundle in the folder `bundle`, for ``Engine.segment``.

    The graph takes one picture, float32 (1, 3, h, w), RGB from -1 to 1, and makes scores, float32
    (1, classes, h', w'), of the classes of the last factor that makes labels, in the palette's
    order. Of the files that are there, only the manifest and its hash change. A copy of the bundle
    takes its place when it has segmented a picture; until then the old one stays as it was.

    Returns:
        `bundle`.

    Raises:
        ExportError: there is no such bundle, it is damaged, makes no labels or has a segmenter;
            the graph can't be read, has not that form, or can't be run.
    """
    bundle = bundle.resolve()
    content = read_bundle(bundle)
    manifest = json.loads(content)
    if manifest.get("segmenter") is not None or SEGMENTER in manifest["graphs"]:
        raise ExportError(f"{bundle} has a segmenter already; export the bundle again without one")
    model = _load(file)
    with replacing(bundle, overwrite=True) as root:
        copy_bundle(bundle, root)
        target = root / f"{SEGMENTER}.onnx"
        target.write_bytes(model.SerializeToString(deterministic=True))
        manifest["segmenter"] = SEGMENTER
        manifest["graphs"][SEGMENTER] = {
            "file": target.name,
            "precision": "fp32",
            "inputs": [_port(value) for value in _inputs(model)],
            "outputs": [_port(value) for value in model.graph.output],
        }
        manifest["files"][target.name] = describe_file(target)
        save_manifest(root, manifest | {"schema": SCHEMA, "created_by": f"fgdm {__version__}"})
        _try(root, file)
        if (bundle / MANIFEST).read_bytes() != content:
            raise ExportError(f"{bundle} has been changed since; add the segmenter again")
    return bundle


def _load(file: Path) -> onnx.ModelProto:
    """The graph, its weights inside."""
    try:
        model = onnx.load(str(file))
        onnx.checker.check_model(model)
    except Exception as error:  # onnx's own have no common class
        raise ExportError(f"can't read the segmenter {file} as ONNX: {error!s:.300}") from None
    inputs, outputs = _inputs(model), list(model.graph.output)
    if len(inputs) != 1 or len(outputs) != 1:
        raise ExportError(
            f"the segmenter {file} has {len(inputs)} inputs and {len(outputs)} outputs; expected "
            "one picture, float32 (1, 3, h, w), and one output, float32 (1, classes, h, w)"
        )
    for value in (*inputs, *outputs):
        kind = value.type.tensor_type
        if kind.elem_type != onnx.TensorProto.FLOAT or len(kind.shape.dim) != 4:
            raise ExportError(
                f"the segmenter's {value.name} isn't float32 of four dimensions; export it from a "
                "picture, (1, 3, h, w), to scores, (1, classes, h, w)"
            )
    return model


def _inputs(model: onnx.ModelProto) -> list[onnx.ValueInfoProto]:
    """Those that aren't weights."""
    weights = {weight.name for weight in model.graph.initializer}
    return [value for value in model.graph.input if value.name not in weights]


def _port(value: onnx.ValueInfoProto) -> dict[str, Any]:
    shape = [
        size.dim_value if size.HasField("dim_value") else size.dim_param or f"{value.name}_{axis}"
        for axis, size in enumerate(value.type.tensor_type.shape.dim)
    ]
    return {"name": value.name, "dtype": "float32", "shape": shape}


def _try(root: Path, file: Path) -> None:
    try:
        with Engine(root, backend="cpu") as engine:
            image = engine.manifest["factors"][-1]
            engine.segment(np.zeros((image["height"], image["width"], 3), np.uint8))
    except Error as error:
        raise ExportError(f"the segmenter {file} doesn't fit {root.name}: {error}") from error
