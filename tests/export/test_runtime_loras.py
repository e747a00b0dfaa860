"""LoRAs that requests weigh: a graph with them as inputs equals one with merged weights."""

from __future__ import annotations

import json
import re
from copy import deepcopy
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch
from fgdm.export.bundle import export_bundle
from fgdm.export.check import open_session, relative_error, run_module, run_session
from fgdm.export.errors import ExportError
from fgdm.export.graphs import backbone_graph, shallow_backbone_graph, text_encoder_graph
from fgdm.export.runtime_loras import RuntimeLora
from fgdm.export.signature import Graph
from fgdm.export.sources import Lora, load_base, merge_lora
from safetensors.torch import load_file, save_file
from torch import Tensor

from tests.tiny_loras import build_lora_bundle, runtime_loras, write_loras
from tests.tiny_models import MAX_LENGTH, TinyCheckpoint

pytestmark = pytest.mark.filterwarnings("ignore")  # diffusers'

#: Weights of style and line, a row each.
ROWS = ((0.8, 0.0), (0.0, 0.0), (0.0, 1.3), (-0.4, 0.7))


def loras_of(bundle: Path, role: str) -> dict[str, Tensor]:
    """What a graph takes of both LoRAs, with `ROWS` as their weights."""
    found: dict[str, list[Tensor]] = {"lora_down": [], "lora_up": [], "lora_scale": []}
    for number, entry in enumerate(json.loads((bundle / "manifest.json").read_text())["loras"]):
        tensors = load_file(bundle / entry["file"])
        if f"{role}.lora_down" not in tensors:
            continue
        for matrix in ("lora_down", "lora_up"):
            found[matrix].append(tensors[f"{role}.{matrix}"])
        scales = torch.tensor([row[number] for row in ROWS])
        found["lora_scale"].append(scales[:, None].repeat(1, entry["rank"]))
    return {name: torch.cat(parts, dim=1) for name, parts in found.items()}


def graph_of(name: str, unet: Any, text_encoder: Any) -> Graph:
    if name == "text_encoder":
        return text_encoder_graph(text_encoder, MAX_LENGTH)
    if name == "backbone":
        return backbone_graph(unet, MAX_LENGTH, 2)
    return shallow_backbone_graph(unet, MAX_LENGTH, int(name[-1]))


@pytest.mark.parametrize("name", ["text_encoder", "backbone", "backbone_shallow_1"])
def test_a_row_with_loras_is_that_of_merged_weights(
    lora_bundle: Path, tiny_checkpoint: TinyCheckpoint, name: str
) -> None:
    """Rows of one LoRA, of the other, of both and of none, in one batch."""
    torch.manual_seed(3)
    role = "text_encoder" if name == "text_encoder" else "backbone"
    base = load_base(tiny_checkpoint.base)
    plain = graph_of(name, base.unet, base.text_encoder)
    inputs = plain.random_inputs(len(ROWS), 2 * plain.multiple, plain.multiple, seed=3)
    session = open_session(lora_bundle / f"{name}.onnx")
    given = run_session(session, {**inputs, **loras_of(lora_bundle, role)})
    changes = []
    for row, scales in enumerate(ROWS):
        models = deepcopy(base.unet), deepcopy(base.text_encoder)
        for file, scale in zip(("style", "line"), scales, strict=True):
            source = lora_bundle.with_name("sources") / f"{file}.safetensors"
            merge_lora(*models, Lora(source, scale))
        one = {key: value[row : row + 1] for key, value in inputs.items()}
        merged = run_module(graph_of(name, *models), one)
        unchanged = run_module(plain, one)
        for spec, expected, before in zip(plain.outputs, merged, unchanged, strict=True):
            assert relative_error(given[spec.name][row : row + 1], expected) < 1e-4, spec.name
            changes.append((any(scales), relative_error(before, expected)))
    assert max(change for any_scale, change in changes if not any_scale) < 1e-5
    assert max(change for any_scale, change in changes if any_scale) > 0.05


@pytest.mark.nightly
def test_graphs_without_a_touched_layer_stay_as_they_are(
    lora_bundle: Path, tiny_checkpoint: TinyCheckpoint, tmp_path: Path
) -> None:
    """A LoRA of the UNet alone leaves the text encoder's graph to the byte, a bundle without LoRAs
    all of them."""
    files = {"line": lora_bundle.with_name("sources") / "line.safetensors"}
    of_unet = build_lora_bundle(
        tmp_path / "unet", tiny_checkpoint, runtime_loras=runtime_loras(files, ("image",))
    )
    plain = build_lora_bundle(tmp_path / "plain", tiny_checkpoint)
    same = {
        path.name
        for path in plain.glob("*.onnx")
        if path.read_bytes() == (of_unet / path.name).read_bytes()
    }
    every = {path.name for path in plain.glob("*.onnx")}
    backbones = {"backbone.onnx", "backbone_shallow_1.onnx", "backbone_shallow_2.onnx"}
    assert same == every - backbones
    assert "loras" not in json.loads((plain / "manifest.json").read_text())
    (entry,) = json.loads((of_unet / "manifest.json").read_text())["loras"]
    assert entry == {
        "name": "line",
        "file": "loras/line.safetensors",
        "rank": 2,
        "factors": ["image"],
    }
    declared = {value.name for value in onnx.load(of_unet / "backbone.onnx").graph.input}
    assert {"lora_down", "lora_up", "lora_scale"} <= declared


@pytest.mark.nightly
def test_float16_graphs_take_float16_loras(
    lora_bundle: Path, tiny_checkpoint: TinyCheckpoint, tmp_path: Path
) -> None:
    """With attention maps beside them; every graph passed its check, and LoRAs act."""
    files = {"style": lora_bundle.with_name("sources") / "style.safetensors"}
    bundle = build_lora_bundle(
        tmp_path / "half",
        tiny_checkpoint,
        "fp16",
        runtime_loras=runtime_loras(files),
        attention_maps=True,
    )
    tensors = load_file(bundle / "loras" / "style.safetensors")
    assert {tensor.dtype for tensor in tensors.values()} == {torch.float16}
    manifest = json.loads((bundle / "manifest.json").read_text())
    described = {item["name"]: item for item in manifest["graphs"]["backbone"]["inputs"]}
    assert described["lora_down"]["dtype"] == "float16"
    assert described["lora_scale"]["dtype"] == "float32"
    assert manifest["graphs"]["backbone"]["max_error"] < 0.02


def refusal(tmp_path: Path, checkpoint: TinyCheckpoint, *loras: RuntimeLora) -> str:
    with pytest.raises(ExportError) as error:
        export_bundle(checkpoint.base, {}, [], None, tmp_path / "b", name="b", runtime_loras=loras)
    assert not (tmp_path / "b").exists()
    return str(error.value)


QUERY = "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q"


@pytest.mark.parametrize(
    ("tensors", "words"),
    [
        (
            {f"lora_unet_{QUERY[5:].replace('.', '_')}.{part}": (32, 32) for part in ("diff",)},
            r"more, or other, than a low-rank pair \(difference\).*--lora",
        ),
        (
            {
                f"{QUERY}.lora_A.weight": (2, 32),
                f"{QUERY}.lora_B.weight": (32, 2),
                f"{QUERY}.lora_magnitude_vector": (32,),
            },
            r"\(magnitude\).*to_q.*--lora",
        ),
        (
            {
                "unet.time_embedding.linear_1.lora_A.weight": (2, 32),
                "unet.time_embedding.linear_1.lora_B.weight": (128, 2),
            },
            r"changes unet.time_embedding.linear_1, which requests can't weigh.*--lora",
        ),
    ],
)
def test_what_is_not_of_low_rank_is_refused_by_name(
    tmp_path: Path,
    tiny_checkpoint: TinyCheckpoint,
    tensors: dict[str, tuple[int, ...]],
    words: str,
) -> None:
    file = tmp_path / "lora.safetensors"
    save_file({key: torch.ones(shape) for key, shape in tensors.items()}, file)
    message = refusal(tmp_path, tiny_checkpoint, RuntimeLora("style", file))
    assert str(file) in message
    assert re.search(words, message), message


def test_names_and_factors_are_checked(tmp_path: Path, tiny_checkpoint: TinyCheckpoint) -> None:
    file = write_loras(tmp_path / "sources", tiny_checkpoint)["line"]
    lora = RuntimeLora("line", file)
    assert "two LoRAs are called line" in refusal(tmp_path, tiny_checkpoint, lora, lora)
    assert "is called '../x'" in refusal(tmp_path, tiny_checkpoint, RuntimeLora("../x", file))
    odd = RuntimeLora("line", file, ("depth",))
    assert "is to change depth; expected factors over the shared backbone: image" in refusal(
        tmp_path, tiny_checkpoint, odd
    )
