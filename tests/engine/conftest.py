"""Results and bundles made by hand, for tests that need no compiled core."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from fgdm import machine
from fgdm.factor_result import Candidate, FactorResult
from fgdm.manifest import hash_line
from fgdm.result import EngineInfo, Result
from PIL import Image

COLORS = {"dog": (128, 0, 0), "house": (128, 0, 128), "tree": (0, 128, 255), "snow": (255,) * 3}

MakeResult = Callable[..., Result]
MakeBundle = Callable[..., Path]

# Where `make test` puts OpenVINO's plugin: among the installed packages it would be what "auto"
# takes in every test.
PLUGINS = Path(__file__).resolve().parents[2] / "build/plugins"


@pytest.fixture(scope="session")
def openvino_site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of packages in which OpenVINO's plugin is installed, and offers this processor.

    On one that it passes over, a plugin that offers it as well (openvino_anywhere.c) stands in.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(PLUGINS))
        found = [plugin for plugin in machine.find_plugins() if plugin.backend == "openvino"]
        takers = [runtime for runtime in machine.find_runtimes() if machine.takes_plugins(runtime)]
    if not found or not takers:
        pytest.skip("OpenVINO's plugin is neither installed nor in build/plugins (make test)")
    devices, _ = machine.plugin_devices(str(takers[0].library), found)
    if any(device.provider == "OpenVINOExecutionProvider" for device in devices):
        return PLUGINS
    if shutil.which("cc") is None:
        pytest.skip("OpenVINO's plugin offers no device on this processor, and there is no cc")
    site = tmp_path_factory.mktemp("anywhere")
    (plugin,) = found
    file = Path("onnxruntime_ep_openvino") / Path(plugin.library).name
    info = site / f"onnxruntime_ep_openvino-{plugin.version}.dist-info"
    info.mkdir()
    (site / file).parent.mkdir()
    name = f"Name: {plugin.package}\nVersion: {plugin.version}\n"
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\n{name}")
    (info / "RECORD").write_text(f"{file},,\n")
    source = Path(__file__).with_name("openvino_anywhere.c")
    original = f'-DORIGINAL="{plugin.library}"'
    build = ["cc", "-shared", "-fPIC", original, str(source), "-o", str(site / file), "-ldl"]
    subprocess.run(build, check=True)
    return site


@pytest.fixture
def openvino(openvino_site: Path, monkeypatch: pytest.MonkeyPatch) -> machine.Plugin:
    """OpenVINO's plugin, installed, on a processor that it runs on."""
    monkeypatch.syspath_prepend(str(openvino_site))
    (plugin,) = (plugin for plugin in machine.find_plugins() if plugin.backend == "openvino")
    return plugin


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
        factor = FactorResult(
            candidates=candidates,
            chosen=best.index,
            given=False,
            requested=tuple(requested),
            excluded=(),
            unknown_pixels=0,
            truncated="",
            negative_truncated="",
            timings={"backbone": 1.0},
        )
        return Result(
            prompt=prompt,
            image=Image.new("RGB", (2 * map_size[0], 2 * map_size[1]), (1, 2, 3)),
            factors={"segmentation": factor},
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


def _port(name: str, *shape: str | int, dtype: str = "float32") -> dict[str, Any]:
    return {"name": name, "dtype": dtype, "shape": ["batch", *shape]}


def _graphs() -> dict[str, Any]:
    """Every role's graph, with the inputs and outputs that it must have."""
    latent = (4, "height", "width")
    sample, timestep = _port("sample", *latent), _port("timestep")
    context = _port("encoder_hidden_states", 8, 16)
    scale, hint = _port("conditioning_scale"), _port("hint", 8, "height", "width")
    picture = _port("image", 3, "image_height", "image_width")
    own = [_port("intrablock_residual_0", 8, "height", "width")]
    control = [
        *(_port(f"down_residual_{i}", 8 * (i + 1), f"h{i}", f"w{i}") for i in range(3)),
        _port("mid_residual", 24, "h2", "w2"),
    ]
    attention = [_port("attn_scale"), _port("argmax_mask", 8, dtype="bool")]
    ports: dict[str, tuple[list[dict[str, Any]], list[dict[str, Any]]]] = {
        "backbone": (
            [sample, timestep, context, *attention, *own, *control],
            [{**sample, "name": "noise_pred"}],
        ),
        "adapter_segmentation": ([sample, timestep], own),
        "adapter_sketch": ([_port("sample", 8, "height", "width"), timestep], own),
        "controlnet": ([sample, timestep, context, hint, scale], control),
        "controlnet_hint": ([{**picture, "name": "controlnet_cond"}], [hint]),
        "text_encoder": ([_port("input_ids", 8, dtype="int64")], [context]),
        "vae_decoder": ([{**sample, "name": "latents"}], [picture]),
        "vae_encoder": ([picture], [{**sample, "name": "latents"}]),
    }
    return {
        name: {
            "file": "adapter.onnx" if name == "adapter_segmentation" else f"{name}.onnx",
            "inputs": inputs,
            "outputs": outputs,
        }
        for name, (inputs, outputs) in ports.items()
    }


def _manifest_of(files: dict[str, bytes]) -> dict[str, Any]:
    """A manifest that an engine takes, with a label factor, a sketch that sees its latents, and the
    image; `files` must hold those it names."""
    factor = {
        "height": 64,
        "width": 64,
        "num_inference_steps": 10,
        "guidance": "cfg",
        "guidance_scale": 7.5,
    }
    adapter = {"kind": "adapter", "graph": "adapter_segmentation"}
    controlnet = {
        "kind": "controlnet",
        "graph": "controlnet",
        "hint_graph": "controlnet_hint",
        "condition": "segmentation",
    }
    return {
        "schema": 3,
        "name": "scenes",
        "created_by": "fgdm 0.1.0",
        "precision": "fp32",
        "weights": "fp16",
        "text_encoder": {
            "graph": "text_encoder",
            "tokenizer": "tokenizer",
            "max_length": 8,
            "hidden_size": 16,
        },
        "backbone": {
            "graph": "backbone",
            "downscale": 4,
            "intrablock_residuals": [{"channels": 8, "stride": 1}],
            "down_residuals": [{"channels": 8 * (i + 1), "stride": 2**i} for i in range(3)],
            "mid_residual": {"channels": 24, "stride": 4},
        },
        "autoencoder": {
            "decoder": "vae_decoder",
            "encoder": "vae_encoder",
            "preview_decoder": None,
            "latent_channels": 4,
            "downscale": 4,
        },
        "scheduler": {
            "num_train_timesteps": 1000,
            "beta_start": 0.00085,
            "beta_end": 0.012,
            "beta_schedule": "scaled_linear",
            "prediction_type": "epsilon",
            "timestep_spacing": "leading",
            "steps_offset": 1,
        },
        "factors": [
            {
                "name": "segmentation",
                "kind": "condition",
                "conditionings": [adapter],
                "palette": "palette.json",
                **factor,
            },
            {
                "name": "sketch",
                "kind": "condition",
                "output": "sketch",
                "lines": "black",
                "conditionings": [
                    {
                        "kind": "adapter",
                        "graph": "adapter_sketch",
                        "latents": ["segmentation", "sketch"],
                    }
                ],
                **factor,
            },
            {
                "name": "image",
                "kind": "image",
                "conditionings": [controlnet],
                **factor,
                "height": 128,
            },
        ],
        "graphs": _graphs(),
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


def _graph_files() -> dict[str, bytes]:
    """By name; the backbone's has 5000 bytes."""
    return {
        graph["file"]: _graph(
            [port["name"] for port in graph["inputs"]],
            [port["name"] for port in graph["outputs"]],
            5000 if name == "backbone" else 400,
        )
        for name, graph in _graphs().items()
    }


@pytest.fixture(scope="session")
def sound_manifest() -> dict[str, Any]:
    """The manifest of a small bundle; not to be changed."""
    return _manifest_of({**_graph_files(), "palette.json": b""})


@pytest.fixture
def make_bundle(tmp_path: Path) -> MakeBundle:
    """Writes a bundle whose graphs have no nodes; `change` may edit the manifest before."""

    def make(change: Callable[[dict[str, Any]], object] | None = None) -> Path:
        files = {
            **_graph_files(),
            "tokenizer/vocab.json": b"{}",
            "palette.json": b"",
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
        (bundle / "manifest.sha256").write_bytes(hash_line(text))
        return bundle

    return make
