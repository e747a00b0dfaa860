"""A bundle of seven small hand-made graphs in the layout that `fgdm export` writes."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from fgdm.export.functions import segfree_attention_function
from onnx import TensorProto, helper

WEIGHTS = "unet/weights.bin"
_HEADER = 24  # weights begin behind a header, as in a safetensors file
_LATENT = ["batch", 4, "height", "width"]
_PICTURE = ["batch", 3, "image_height", "image_width"]
_TYPES = {"float32": TensorProto.FLOAT, "int64": TensorProto.INT64, "bool": TensorProto.BOOL}

Port = tuple[str, str, list[Any]]


def write_bundle(folder: Path) -> Path:
    """A 32×32 image with maps of 16×16; a latent cell is 4 pixels wide."""
    folder.mkdir(parents=True)
    weights = _Weights(folder)
    graphs = {
        "text_encoder": weights.graph(
            [("input_ids", "int64", ["batch", 4])],
            [("encoder_hidden_states", "float32", ["batch", 4, 6])],
            [helper.make_node("Gather", ["w", "input_ids"], ["encoder_hidden_states"])],
            (8, 6),
        ),
        "backbone": weights.graph(
            [
                ("sample", "float32", _LATENT),
                ("attn_scale", "float32", ["batch"]),
                ("argmax_mask", "bool", ["batch", "height"]),
            ],
            [("noise_pred", "float32", _LATENT)],
            [
                helper.make_node(
                    "SegFreeAttention",
                    ["sample", "sample", "sample", "attn_scale", "argmax_mask"],
                    ["attended"],
                    name="/mid_block/attn2/SegFreeAttention",
                    domain="fgdm",
                    plugin_version="1",
                    plugin_namespace="fgdm",
                ),
                helper.make_node("Mul", ["attended", "w"], ["noise_pred"], name="/scale"),
            ],
            (1, 4, 1, 1),
        ),
        "adapter_segmentation": weights.graph(
            [("sample", "float32", _LATENT)],
            [("intrablock_residual_0", "float32", ["batch", 4, "height_div_2", "width_div_2"])],
            [
                helper.make_node(
                    "Conv", ["sample", "w"], ["intrablock_residual_0"], strides=[2, 2], name="/conv"
                )
            ],
            (4, 4, 2, 2),
        ),
        "controlnet_segmentation": weights.graph(
            [("sample", "float32", _LATENT), ("hint", "float32", _LATENT)],
            [("down_residual_0", "float32", _LATENT)],
            [
                helper.make_node("Mul", ["hint", "w"], ["scaled"]),
                helper.make_node("Add", ["scaled", "sample"], ["down_residual_0"]),
            ],
            (1, 4, 1, 1),
        ),
        "controlnet_hint": weights.graph(
            [("controlnet_cond", "float32", _PICTURE)],
            [("hint", "float32", _LATENT)],
            [helper.make_node("Conv", ["controlnet_cond", "w"], ["hint"], strides=[4, 4])],
            (4, 3, 4, 4),
        ),
        "vae_decoder": weights.graph(
            [("latents", "float32", _LATENT)],
            [("image", "float32", _PICTURE)],
            [helper.make_node("ConvTranspose", ["latents", "w"], ["image"], strides=[4, 4])],
            (4, 3, 4, 4),
        ),
        "vae_encoder": weights.graph(
            [("image", "float32", _PICTURE)],
            [("latents", "float32", _LATENT)],
            [helper.make_node("Conv", ["image", "w"], ["latents"], strides=[4, 4])],
            (4, 3, 4, 4),
        ),
    }
    weights.write()
    manifest = {
        "schema": 2,
        "name": "small",
        "created_by": "a test",
        "precision": "fp32",
        "weights": "fp32",
        "text_encoder": {"graph": "text_encoder"},
        "autoencoder": {"decoder": "vae_decoder", "encoder": "vae_encoder", "downscale": 4},
        "backbone": {"graph": "backbone", "downscale": 2},
        "factors": [
            _factor("segmentation", "condition", 16, "adapter_segmentation"),
            _factor("image", "image", 32, "controlnet_segmentation", "controlnet_hint"),
        ],
        "graphs": {},
    }
    for name, (model, ports) in graphs.items():
        (folder / f"{name}.onnx").write_bytes(model.SerializeToString())
        manifest["graphs"][name] = {"file": f"{name}.onnx", **ports}  # type: ignore[index]
    seal(folder, manifest)
    return folder


def seal(folder: Path, manifest: dict[str, Any]) -> None:
    """Writes the manifest with the sizes and hashes of all files, and its own hash."""
    kept = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    manifest["files"] = {
        path.relative_to(folder).as_posix(): {
            "size": path.stat().st_size,
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        }
        for path in kept
        if path.parts[len(folder.parts)] not in ("plans", "manifest.json", "manifest.sha256")
    }
    text = json.dumps(manifest)
    (folder / "manifest.json").write_text(text)
    digest = hashlib.sha256(text.encode()).hexdigest()
    (folder / "manifest.sha256").write_text(f"{digest}  manifest.json\n")


def reseal(folder: Path, **changes: Any) -> None:
    """Changes entries of the manifest, and makes it agree with the files again."""
    manifest = json.loads((folder / "manifest.json").read_text())
    seal(folder, {**manifest, **changes})


class _Weights:
    """One file of weights for all graphs."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._content = bytes(_HEADER)
        self._random = np.random.default_rng(3)

    def graph(
        self,
        inputs: list[Port],
        outputs: list[Port],
        nodes: list[onnx.NodeProto],
        shape: tuple[int, ...],
    ) -> tuple[onnx.ModelProto, dict[str, Any]]:
        """A model whose one weight is "w", and its ports for the manifest."""
        values = self._random.standard_normal(shape).astype(np.float32).tobytes()
        weight = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=shape)
        weight.data_location = TensorProto.EXTERNAL
        place = {"location": WEIGHTS, "offset": len(self._content), "length": len(values)}
        for key, value in place.items():
            weight.external_data.add(key=key, value=str(value))
        self._content += values
        model = helper.make_model(
            helper.make_graph(nodes, "g", _values(inputs), _values(outputs), [weight]),
            opset_imports=[helper.make_opsetid("", 18), helper.make_opsetid("fgdm", 1)],
            ir_version=10,
        )
        if any(node.domain == "fgdm" for node in nodes):
            model.functions.append(segfree_attention_function())
        return model, {"inputs": _ports(inputs), "outputs": _ports(outputs)}

    def write(self) -> None:
        file = self._folder / WEIGHTS
        file.parent.mkdir()
        file.write_bytes(self._content)


def _values(ports: list[Port]) -> list[onnx.ValueInfoProto]:
    return [
        helper.make_tensor_value_info(name, _TYPES[dtype], shape) for name, dtype, shape in ports
    ]


def _ports(ports: list[Port]) -> list[dict[str, Any]]:
    return [{"name": name, "dtype": dtype, "shape": shape} for name, dtype, shape in ports]


def _factor(name: str, kind: str, side: int, graph: str, hint: str | None = None) -> dict[str, Any]:
    return {
        "name": name,
        "kind": kind,
        "conditionings": [
            {"kind": "adapter", "graph": graph}
            if hint is None
            else {
                "kind": "controlnet",
                "graph": graph,
                "hint_graph": hint,
                "condition": "segmentation",
            }
        ],
        "height": side,
        "width": side,
        "num_inference_steps": 10,
        "guidance": "cfg",
        "guidance_scale": 4.0,
    }
