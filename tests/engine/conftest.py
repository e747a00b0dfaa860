"""Results and bundles made by hand, for tests that need no compiled core."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from fgdm.result import Candidate, EngineInfo, Result
from PIL import Image

COLORS = {"dog": (128, 0, 0), "house": (128, 0, 128), "tree": (0, 128, 255), "snow": (255,) * 3}

MakeResult = Callable[..., Result]
MakeBundle = Callable[..., Path]


@pytest.fixture
def make_result() -> MakeResult:
    """Builds a result whose maps find the given classes; the first best one is chosen."""

    def make(
        found: Sequence[Sequence[str]] = (("dog",), ("dog", "house", "tree"), ()),
        requested: Sequence[str] = ("dog", "house", "tree"),
        prompt: str = "a dog beside a house under a tree",
        unrecognized: Sequence[str] = (),
        map_size: tuple[int, int] = (64, 64),
    ) -> Result:
        candidates = tuple(
            Candidate(
                index=index,
                seed=2**64 - 1 - index,
                recall=len(names) / len(requested) if requested else 1.0,
                found=tuple(names),
                missing=tuple(name for name in requested if name not in names),
                smallest_area=0.01 if names else 0.0,
                map=Image.new("RGB", map_size, (20 * index % 256, 200, 40)),
                labels=np.full(map_size[::-1], 255, np.uint8),
                steps=10,
                pruned=False,
                failed=False,
            )
            for index, names in enumerate(found)
        )
        best = max(candidates, key=lambda candidate: candidate.recall)
        return Result(
            prompt=prompt,
            image=Image.new("RGB", (2 * map_size[0], 2 * map_size[1]), (1, 2, 3)),
            map=best.map,
            labels=best.labels,
            recall=best.recall,
            found=best.found,
            missing=best.missing,
            requested=tuple(requested),
            excluded=(),
            unread=(),
            unrecognized=tuple(unrecognized),
            unrecognized_omitted=0,
            truncated="",
            negative_truncated="",
            chosen=best.index,
            candidates=candidates,
            seed=7,
            map_rows=20,
            timings={"backbone": 1.25, "core": 0.01, "total": 1.5},
            parameters={
                "guidance": "segfree",
                "candidates": np.int64(len(candidates)),
                "objects": None,
                "latents": np.zeros((1, 4, 8, 8), np.float32),
            },
            engine=EngineInfo("0.1.0", "scenes", "cpu", "fp32", "onnxruntime 1.31.1"),
            colors=COLORS,
        )

    return make


def _manifest_of(files: dict[str, bytes]) -> dict[str, Any]:
    """A manifest with two factors over the given files, which must hold both .onnx names."""
    residuals = [
        {
            "name": f"down_residual_{i}",
            "dtype": "float32",
            "shape": ["batch", 8 * (i + 1), "h", "w"],
        }
        for i in range(3)
    ]
    sample = {"name": "sample", "dtype": "float32", "shape": ["batch", 4, "height", "width"]}
    factor = {
        "conditionings": [{"kind": "adapter", "graph": "adapter_segmentation"}],
        "height": 64,
        "width": 64,
        "num_inference_steps": 10,
        "guidance": "cfg",
        "guidance_scale": 7.5,
    }
    return {
        "schema": 2,
        "name": "scenes",
        "created_by": "fgdm 0.1.0",
        "precision": "fp32",
        "weights": "fp16",
        "text_encoder": {"graph": "text_encoder"},
        "backbone": {"graph": "backbone", "downscale": 4},
        "autoencoder": {"decoder": "vae_decoder", "preview_decoder": None, "downscale": 4},
        "factors": [
            {"name": "segmentation", "kind": "condition", **factor},
            {"name": "image", "kind": "image", **factor, "height": 128},
        ],
        "graphs": {
            "backbone": {
                "file": "backbone.onnx",
                "inputs": [sample, *residuals],
                "outputs": [{**sample, "name": "noise_pred"}],
            },
            **{
                name: {"file": "adapter.onnx", "inputs": [sample], "outputs": []}
                for name in ("adapter_segmentation", "text_encoder", "vae_decoder")
            },
        },
        "files": {
            path: {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
            for path, content in files.items()
        },
    }


def _graph(inputs: Sequence[str], outputs: Sequence[str], size: int) -> bytes:
    """An ONNX model of so many bytes."""
    graph = onnx.GraphProto(name="g")
    graph.input.extend(onnx.ValueInfoProto(name=name) for name in inputs)
    graph.output.extend(onnx.ValueInfoProto(name=name) for name in outputs)
    model = onnx.ModelProto(ir_version=10, graph=graph, doc_string=" " * (size // 2))
    model.doc_string += " " * (size - model.ByteSize())
    assert model.ByteSize() == size
    return bytes(model.SerializeToString())


@pytest.fixture(scope="session")
def sound_manifest() -> dict[str, Any]:
    """The manifest of a small bundle; not to be changed."""
    return _manifest_of({"backbone.onnx": b"1", "adapter.onnx": b"2"})


@pytest.fixture
def make_bundle(tmp_path: Path) -> MakeBundle:
    """Writes a bundle whose graphs have no nodes; `change` may edit the manifest before."""

    def make(change: Callable[[dict[str, Any]], object] | None = None) -> Path:
        files = {
            "backbone.onnx": _graph(
                ["sample", *(f"down_residual_{i}" for i in range(3))], ["noise_pred"], 5000
            ),
            "adapter.onnx": _graph(["sample"], [], 100),
            "tokenizer/vocab.json": b"{}",
        }
        manifest = _manifest_of(files)
        if change is not None:
            change(manifest)
        bundle = tmp_path / "bundle"
        for path, content in files.items():
            (bundle / path).parent.mkdir(parents=True, exist_ok=True)
            (bundle / path).write_bytes(content)
        text = json.dumps(manifest).encode()
        (bundle / "manifest.json").write_bytes(text)
        digest = hashlib.sha256(text).hexdigest()
        (bundle / "manifest.sha256").write_text(f"{digest}  manifest.json\n")
        return bundle

    return make
