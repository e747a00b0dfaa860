"""The shipped bundle with a convolution in each network's place: it opens in milliseconds.

Manifest, tokenizer, palette, names and types of all inputs and outputs are the shipped bundle's,
and weights lie outside of the graphs as there, so what is mutated is what users have.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from fgdm.plans import plan_key
from onnx import TensorProto, helper
from safetensors.numpy import save_file

SCENES = Path(__file__).parents[2] / "bundles" / "scenes"

#: Which file holds a graph's weights, where that isn't in a folder of its name.
_WEIGHTS = {
    "text_encoder": "text_encoder/model.safetensors",
    "backbone": "unet/diffusion_pytorch_model.safetensors",
    "backbone_shallow_1": "unet/shallow_1.safetensors",
    "backbone_shallow_2": "unet/shallow_2.safetensors",
    "controlnet_segmentation_hint": "controlnet_segmentation/hint.safetensors",
    "vae_decoder": "vae/decoder.safetensors",
    "vae_encoder": "vae/encoder.safetensors",
}
_TYPES = {"float32": TensorProto.FLOAT, "int64": TensorProto.INT64, "bool": TensorProto.BOOL}
_PLAN = b"not a plan of any runtime"

Port = dict[str, Any]


def build(folder: Path) -> Path:
    """Writes the bundle to `folder`, with a plan's description; returns it."""
    manifest = json.loads((SCENES / "manifest.json").read_text(encoding="utf-8"))
    shutil.copytree(SCENES / "tokenizer", folder / "tokenizer")
    shutil.copy(SCENES / "palette.json", folder)
    for config in SCENES.glob("*/config.json"):
        (folder / config.parent.name).mkdir(exist_ok=True)
        shutil.copy(config, folder / config.parent.name)
    for name, graph in manifest["graphs"].items():
        _write_graph(folder, name, graph)
    names = sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    manifest["files"] = {str(name): {} for name in names}
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=1), encoding="utf-8")
    rehash(folder, [str(name) for name in names])
    _write_passed_over_plan(folder)
    return folder


def content_of(path: Path) -> bytes:
    """OSError for what isn't a regular file, or is larger than any of the miniature's."""
    if not path.is_file() or path.stat().st_size >= 2**26:
        raise OSError(f"{path} isn't read")
    return path.read_bytes()


def rehash(folder: Path, names: list[str]) -> None:
    """Makes the manifest fit the named files, and its hash file fit the manifest."""
    path = folder / "manifest.json"
    manifest = json.loads(content_of(path))
    for name in names:
        content = content_of(folder / name)
        manifest["files"][name] = {
            "size": len(content),
            "sha256": hashlib.sha256(content).hexdigest(),
        }
    replace(path, json.dumps(manifest, indent=1).encode())
    rehash_manifest(folder)


def rehash_manifest(folder: Path) -> None:
    """Makes manifest.sha256 fit manifest.json as it is."""
    digest = hashlib.sha256(content_of(folder / "manifest.json")).hexdigest()
    replace(folder / "manifest.sha256", f"{digest}  manifest.json\n".encode())


def replace(path: Path, content: bytes) -> None:
    """Writes a new file in the old one's place; other links to the old one keep its content."""
    path.unlink(missing_ok=True)
    path.write_bytes(content)


def _write_graph(folder: Path, name: str, graph: dict[str, Any]) -> None:
    weights_file = _WEIGHTS.get(name, f"{name}/diffusion_pytorch_model.safetensors")
    seen, weight_rows = graph["inputs"][0], []
    body: list[onnx.NodeProto] = []
    extra = _contributions(graph["inputs"][1:], body)
    for output in graph["outputs"]:
        weight_rows.append(_channels(seen, output))
        index = len(weight_rows) - 1
        body += _output(seen, output, f"weight_{index}", extra)
    generator = np.random.default_rng(len(name))
    arrays = {
        f"weight_{i}": (generator.standard_normal(shape) / np.sqrt(shape[-3])).astype(np.float16)
        if len(shape) == 4
        else generator.standard_normal(shape).astype(np.float16)
        for i, shape in enumerate(weight_rows)
    }
    target = folder / weights_file
    target.parent.mkdir(parents=True, exist_ok=True)
    save_file(arrays, target)
    model = helper.make_model(
        helper.make_graph(
            [helper.make_node("Cast", [f"{k}_half"], [k], to=TensorProto.FLOAT) for k in arrays]
            + body,
            name,
            [_value(port) for port in graph["inputs"]],
            [_value(port) for port in graph["outputs"]],
            _external(target, weights_file, arrays),
        ),
        opset_imports=[helper.make_opsetid("", 18)],
        ir_version=9,
    )
    (folder / graph["file"]).write_bytes(model.SerializeToString())


def _channels(seen: Port, output: Port) -> tuple[int, ...]:
    """The shape of the weight that makes an output of what a network sees."""
    if seen["dtype"] == "int64":
        return (1, output["shape"][2])
    return (output["shape"][1] * _upscaling(seen, output) ** 2, seen["shape"][1], 1, 1)


def _scale(port: Port) -> int:
    """Pixels across of what a port's cell stands for; 1 cell of the latents is 4 pixels."""
    height = port["shape"][2]
    return {"image_height": 1, "height": 4, "height_div_2": 8, "height_div_4": 16}[height]


def _upscaling(seen: Port, output: Port) -> int:
    return max(1, _scale(seen) // _scale(output))


def _output(seen: Port, output: Port, weight: str, extra: list[str]) -> list[onnx.NodeProto]:
    name = output["name"]
    made = f"{name}_made"
    if seen["dtype"] == "int64":
        return [
            helper.make_node("Cast", [seen["name"]], ["ids"], to=TensorProto.FLOAT),
            helper.make_node("Constant", [], ["last"], value_ints=[-1]),
            helper.make_node("Unsqueeze", ["ids", "last"], ["column"]),
            helper.make_node("MatMul", ["column", weight], [made]),
            helper.make_node("Sin", [made], [name]),
        ]
    nodes, source = [], seen["name"]
    if (shrink := _scale(output) // _scale(seen)) > 1:
        pooled = f"{name}_pooled"
        sides = [shrink, shrink]
        nodes.append(
            helper.make_node("AveragePool", [source], [pooled], kernel_shape=sides, strides=sides)
        )
        source = pooled
    nodes.append(helper.make_node("Conv", [source, weight], [made]))
    if (grow := _upscaling(seen, output)) > 1:
        nodes.append(helper.make_node("DepthToSpace", [made], [f"{made}_large"], blocksize=grow))
        made = f"{made}_large"
    for i, value in enumerate(extra):
        nodes.append(helper.make_node("Add", [made, value], [f"{name}_plus_{i}"]))
        made = f"{name}_plus_{i}"
    nodes.append(helper.make_node("Tanh", [made], [name]))
    return nodes


def _contributions(ports: list[Port], body: list[onnx.NodeProto]) -> list[str]:
    """Adds each port's mean per row, as (batch, 1, 1, 1), so that no input is without effect."""
    names = []
    for port in ports:
        name = port["name"]
        rest = list(range(1, len(port["shape"])))
        body.append(helper.make_node("Cast", [name], [f"{name}_float"], to=TensorProto.FLOAT))
        body.append(helper.make_node("Sin", [f"{name}_float"], [f"{name}_small"]))
        mean = f"{name}_small"
        if rest:
            body.append(helper.make_node("Constant", [], [f"{name}_axes"], value_ints=rest))
            mean = f"{name}_mean"
            body.append(
                helper.make_node(
                    "ReduceMean", [f"{name}_small", f"{name}_axes"], [mean], keepdims=0
                )
            )
        body.append(helper.make_node("Constant", [], [f"{name}_trail"], value_ints=[1, 2, 3]))
        body.append(helper.make_node("Unsqueeze", [mean, f"{name}_trail"], [f"{name}_row"]))
        names.append(f"{name}_row")
    return names


def _value(port: Port) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(port["name"], _TYPES[port["dtype"]], port["shape"])


def _external(
    target: Path, location: str, arrays: dict[str, np.ndarray[Any, Any]]
) -> list[TensorProto]:
    """Initializers that point into a safetensors file."""
    content = content_of(target)
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    tensors = []
    for name, array in arrays.items():
        begin, end = header[name]["data_offsets"]
        tensor = TensorProto(
            name=f"{name}_half",
            data_type=TensorProto.FLOAT16,
            dims=array.shape,
            data_location=TensorProto.EXTERNAL,
        )
        for key, value in (
            ("location", location),
            ("offset", 8 + length + begin),
            ("length", end - begin),
        ):
            tensor.external_data.add(key=key, value=str(value))
        tensors.append(tensor)
    return tensors


def write_plan(folder: Path, covers: dict[str, Any], document: dict[str, Any]) -> None:
    """Writes a plan, and its description under the name that its content asks for."""
    stem = folder / "plans" / "tensorrt" / plan_key(covers)
    stem.parent.mkdir(parents=True, exist_ok=True)
    stem.with_suffix(".plan").write_bytes(_PLAN)
    stem.with_suffix(".json").write_text(json.dumps({**document, "covers": covers}))


def _write_passed_over_plan(folder: Path) -> None:
    """A plan that no machine can run, with a description in order: it must be passed over."""
    files = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["files"]
    tokens = {"name": "input_ids", "shapes": [[4, 48]]}
    states = {"name": "encoder_hidden_states", "shapes": [[4, 48, 128]]}
    covers = {
        "target": "tensorrt",
        "files": {"text_encoder.onnx": files["text_encoder.onnx"]["sha256"]},
        "graph": "text_encoder",
        "runtime": "10.3.0",
        "gpus": ["sm_89"],
        "precision": "fp32",
        "segfree_attention": "none",
        "profiles": [{"height": 0, "width": 0, "rows": 4}],
        "inputs": [tokens],
        "outputs": [states],
    }
    digest = hashlib.sha256(_PLAN).hexdigest()
    document = {
        "schema": 1,
        "plan": {"size": len(_PLAN), "sha256": digest},
        "built": {"seconds": 1.0},
    }
    write_plan(folder, covers, document)
