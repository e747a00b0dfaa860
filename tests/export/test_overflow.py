"""Overflow in float16 is found, named and can be avoided; and what finds it is right."""

from __future__ import annotations

import math
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from diffusers import UNet2DConditionModel
from fgdm.export.bundle import export_bundle
from fgdm.export.calibration import PROMPTS, sampling_calls
from fgdm.export.check import open_model, run_session
from fgdm.export.emulation import measured, rounded
from fgdm.export.errors import ExportError
from fgdm.export.functions import add_function_bodies
from fgdm.export.graphs import (
    adapter_graph,
    backbone_graph,
    controlnet_graph,
    decoder_graph,
    encoder_graph,
    hint_graph,
    text_encoder_graph,
)
from fgdm.export.onnx_export import export_graph
from fgdm.export.overflow import Magnitude, check_overflow
from fgdm.export.signature import Graph
from fgdm.export.sources import load_models
from fgdm.export.weights import WeightStore
from onnx import TensorProto, helper, parser
from safetensors.torch import load_file, save_file
from transformers import CLIPTokenizer

from tests.tiny_models import IMAGE_SIZE, TinyCheckpoint

LAYER = "down_blocks.1.resnets.0.conv1"


@pytest.fixture
def overflowing(tiny_checkpoint: TinyCheckpoint) -> UNet2DConditionModel:
    """A UNet with one convolution of huge numbers, which the normalisation after it takes back."""
    unet = UNet2DConditionModel.from_pretrained(tiny_checkpoint.base / "unet").eval()
    unet.get_submodule(LAYER).weight.data *= 1e5
    return unet


@pytest.mark.nightly
def test_overflow_names_the_layer(overflowing: UNet2DConditionModel, tmp_path: Path) -> None:
    store = WeightStore(tmp_path, "fp16")
    store.save(overflowing, "unet", "model.safetensors")
    graph = backbone_graph(overflowing, 32).in_precision("fp16")
    calls = [graph.random_inputs(1, 8, 8, seed) for seed in (1, 2)]
    path = export_graph(graph, store)
    with pytest.raises(
        ExportError, match=rf"backbone overflows .*: {LAYER}.Conv reaches \d"
    ) as error:
        check_overflow(graph, path, calls)
    assert "--keep-fp32 'backbone/*'" in str(error.value)

    path = export_graph(graph, store, ["down_blocks.1.resnets.0.*"])
    largest = check_overflow(graph, path, calls)
    assert largest is not None
    assert largest.value < 1000
    assert "down_blocks.1.resnets.0." not in largest.node


def test_export_stops_at_overflow_and_leaves_nothing(
    tiny_checkpoint: TinyCheckpoint, tmp_path: Path
) -> None:
    base = tmp_path / "base"
    shutil.copytree(tiny_checkpoint.base, base)
    weights = base / "text_encoder/model.safetensors"
    state = load_file(weights)
    (key,) = (key for key in state if key.endswith("layers.1.mlp.fc1.weight"))
    state[key] *= 3e4
    save_file(state, weights, metadata={"format": "pt"})
    with pytest.raises(ExportError, match=r"text_encoder overflows .*layers\.1\.mlp\.fc1\.MatMul"):
        export_bundle(
            base,
            {"segmentation": tiny_checkpoint.adapter},
            tiny_checkpoint.controlnet,
            tiny_checkpoint.palette,
            tmp_path / "b",
            name="tiny",
            precision="fp16",
        )
    assert [path.name for path in tmp_path.iterdir()] == ["base"]


# What finds it.


def save(model: str, path: Path) -> Path:
    path.write_bytes(parser.parse_model(model).SerializeToString())
    return path


def test_emulation_rounds_like_float16(tmp_path: Path) -> None:
    """Against NumPy, which rounds every float16 result."""
    path = save(
        """<ir_version: 10, opset_import: ["": 18]>
        g (float16[N] x, float16[1] c, float[N] y) => (float[N] z, float16[N] w)
        {
            [scale] a = Mul(x, c)
            [down] b = Cast<to = 10>(y)
            [add] w = Add(a, b)
            [up] u = Cast<to = 1>(w)
            [sub] z = Sub(u, y)
        }""",
        tmp_path / "g.onnx",
    )
    x, y = (torch.randn(1000, generator=torch.Generator().manual_seed(seed)) for seed in (1, 2))
    y *= 100
    c = torch.tensor([7.3]).half()
    half = x.half().numpy() * c.numpy() + y.half().numpy()
    outputs = run_session(open_model(rounded(path), path), {"x": x.half(), "c": c, "y": y})
    np.testing.assert_array_equal(outputs["w"].astype(np.float16), half)
    np.testing.assert_array_equal(outputs["z"], half.astype(np.float32) - y.numpy())


def test_emulation_runs_where_casts_are_kept(tmp_path: Path) -> None:
    """OpenVINO drops a cast to float16 and back: no other provider may come in between."""
    path = save(
        """<ir_version: 10, opset_import: ["": 18]>
        g (float16[N] x) => (float16[N] z) { z = Abs(x) }""",
        tmp_path / "g.onnx",
    )
    session = open_model(rounded(path), path)
    assert session.get_providers() == ["CPUExecutionProvider"]


@pytest.mark.parametrize("at", [0, 1, 7, 8, 15, 16, 4095, 4096])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_counts_as_overflow(value: float, at: int, tmp_path: Path) -> None:
    """Wherever it stands: ReduceMax loses NaN in some places and keeps it in others."""
    path = save(
        """<ir_version: 10, opset_import: ["": 18]>
        g (float16[N] x, float16[N] y) => (float16[N] z) { [total] z = Add(x, y) }""",
        tmp_path / "g.onnx",
    )
    graph = Graph("sum", torch.nn.Identity(), (), ())
    x = torch.linspace(-3, 3, 4097)
    assert check_overflow(graph, path, [{"x": x, "y": x}]) == Magnitude("total", 6.0)
    spoilt = x.clone()
    spoilt[at] = value
    for call in ({"x": spoilt, "y": x}, {"x": x, "y": spoilt}):
        with pytest.raises(ExportError, match=r"sum overflows .*: total isn't finite"):
            check_overflow(graph, path, [{"x": x, "y": x}, call])


def test_magnitudes_are_those_of_float32(tmp_path: Path) -> None:
    path = save(
        """<ir_version: 10, opset_import: ["": 18]>
        g (float16[N] x) => (float16[N] z)
        {
            [square] a = Mul(x, x)
            [up] b = Cast<to = 1>(a)
            [softmax] s = Softmax(b)
            [down] z = Cast<to = 10>(s)
        }""",
        tmp_path / "g.onnx",
    )
    model, probes = measured(path)
    assert set(probes.values()) == {"square", "down"}
    outputs = run_session(open_model(model, path), {"x": torch.tensor([1.0, -1000.0])})
    found = {probes[name]: float(value) for name, value in outputs.items()}
    assert found == {"square": 1e6, "down": 1.0}


def test_products_inside_the_op_are_looked_at(tmp_path: Path) -> None:
    """Queries and keys that float16 can hold, and scores that it can't."""
    shape = ("B", "H", "P", "d")
    names = ("q", "k", "v")
    inputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT16, shape) for name in names]
    inputs.append(helper.make_tensor_value_info("attn_scale", TensorProto.FLOAT, ("B",)))
    inputs.append(helper.make_tensor_value_info("argmax_mask", TensorProto.BOOL, ("B", "P")))
    node = helper.make_node(
        "SegFreeAttention",
        [value.name for value in inputs],
        ["out"],
        name="attn2.SegFreeAttention",
        domain="fgdm",
    )
    out = helper.make_tensor_value_info("out", TensorProto.FLOAT16, shape)
    model = helper.make_model(
        helper.make_graph([node], "g", inputs, [out]),
        opset_imports=[helper.make_opsetid("", 18)],
        ir_version=10,
    )
    add_function_bodies(model)
    path = tmp_path / "g.onnx"
    onnx.save(model, path)
    emulation, probes = measured(path)
    outputs = run_session(
        open_model(emulation, path),
        {
            **{name: torch.full((1, 2, 3, 16), 300.0) for name in names},
            "attn_scale": torch.ones(1),
            "argmax_mask": torch.ones(1, 3, dtype=torch.bool),
        },
    )
    assert set(probes.values()) == {"attn2.SegFreeAttention"}
    assert max(map(float, outputs.values())) == pytest.approx(300 * 300 * 16 / 4)


# What it looks at.


def test_calls_are_a_sampling_run(tiny_checkpoint: TinyCheckpoint) -> None:
    base = tiny_checkpoint.base
    models = load_models(base, [tiny_checkpoint.adapter], [tiny_checkpoint.controlnet])
    (controlnet,) = models.controlnets
    length = models.max_length
    graphs: list[Graph] = [
        text_encoder_graph(models.text_encoder, length),
        backbone_graph(models.unet, length),
        adapter_graph("adapter_segmentation", models.adapters[0][0], models.unet),
        hint_graph("controlnet_segmentation", controlnet, models.downscale),
        controlnet_graph("controlnet_segmentation", controlnet, length),
        decoder_graph(models.vae, models.downscale),
        encoder_graph(models.vae, models.downscale),
    ]
    side = IMAGE_SIZE // 2 // models.downscale
    calls = sampling_calls(graphs, base / "tokenizer", models.scheduler, (side, side))

    tokenizer = CLIPTokenizer.from_pretrained(base / "tokenizer")
    for call, prompt in zip(calls["text_encoder"], PROMPTS, strict=True):
        expected = tokenizer(prompt, truncation=True, max_length=length).input_ids
        assert call["input_ids"][0, : len(expected)].tolist() == expected
    backbone = calls["backbone"]
    assert {float(call["timestep"]) for call in backbone} >= {999.0, 249.0}
    assert {float(call["attn_scale"]) for call in backbone} == {1.0, -10.0}
    assert all(not call["argmax_mask"][:, 0].any() for call in backbone)
    adapted, controlled = (
        [call for call in backbone if call[name].any()]
        for name in ("intrablock_residual_0", "mid_residual")
    )
    assert {tuple(call["sample"].shape) for call in backbone} == {(1, 4, side, side)}
    assert len(adapted) == len(controlled) == len(backbone) // 2
    (hint,) = calls["controlnet_segmentation_hint"]
    assert hint["controlnet_cond"].shape == (1, 3, IMAGE_SIZE // 2, IMAGE_SIZE // 2)
    assert 0 <= hint["controlnet_cond"].min() < hint["controlnet_cond"].max() <= 1
    assert len(calls["vae_decoder"]) == len(calls["vae_encoder"]) == 2
