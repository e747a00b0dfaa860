"""Attention maps of exported backbones equal those of diffusers' own attention; edits by them equal
diffusers' LEDITS++ pipeline, on the same random weights, noise and masks."""

from __future__ import annotations

import dataclasses
import json
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from diffusers import UNet2DConditionModel
from diffusers.models.attention_processor import Attention, AttnProcessor
from fgdm import Edit, Engine, Inversion
from fgdm.errors import RequestError
from fgdm.export.bundle import DIFFUSERS_FILE, export_bundle
from fgdm.export.check import (
    check_graph,
    open_session,
    relative_error,
    run_session,
    session_options,
)
from fgdm.export.defaults import TOLERANCE
from fgdm.export.errors import ExportError
from fgdm.export.graphs import backbone_graph, own_backbone_graph
from fgdm.export.onnx_export import export_graph
from fgdm.export.symbols import resolve
from fgdm.export.weights import WeightStore
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from benchmarks.ledits import load_pipeline
from tests.conftest import shared
from tests.tiny_models import MAX_LENGTH, TEXT_WIDTH, TinyCheckpoint, build_deep_base

pytestmark = pytest.mark.filterwarnings("ignore")  # diffusers'

SIDE, STEPS, NOISE_SEED = 64, 12, 7
CUSTOM_OP = os.environ.get("FGDM_ORT_OPS_HOST", "")
Latents = NDArray[np.float32]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory, tiny_checkpoint: TinyCheckpoint) -> Path:
    """Of Stable Diffusion's levels, whose coarsest with cross-attention is a quarter."""

    def make(folder: Path) -> None:
        base = build_deep_base(folder.with_name("deep_base"), tiny_checkpoint)
        export_bundle(base, {}, [], None, folder, name="deep", attention_maps=True)

    return shared(tmp_path_factory, "deep", make)


@pytest.fixture(scope="module")
def unet(bundle: Path) -> UNet2DConditionModel:
    return UNet2DConditionModel.from_pretrained(bundle / "unet").eval()


class Recorder(AttnProcessor):  # type: ignore[misc]
    """diffusers' attention, which keeps its probabilities, (B, H, P, T)."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: Tensor | None = None

    def __call__(self, attn: Attention, hidden_states: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        scores = attn.get_attention_scores

        def kept(*inner: Any) -> Tensor:
            weights: Tensor = scores(*inner)
            self.seen = weights.unflatten(0, (-1, attn.heads))
            return weights

        attn.get_attention_scores = kept
        try:
            made: Tensor = super().__call__(attn, hidden_states, *args, **kwargs)
        finally:
            attn.get_attention_scores = scores
        return made


def backbone_inputs(batch: int, height: int, width: int) -> dict[str, Tensor]:
    torch.manual_seed(3)
    return {
        "sample": torch.randn(batch, 4, height, width),
        "timestep": torch.randint(1000, (batch,)).float(),
        "encoder_hidden_states": torch.randn(batch, MAX_LENGTH, TEXT_WIDTH),
        "attn_scale": torch.ones(batch),
        "argmax_mask": torch.ones(batch, MAX_LENGTH, dtype=torch.bool),
    }


def run_graph(
    session: onnxruntime.InferenceSession, inputs: dict[str, Tensor]
) -> dict[str, NDArray[np.float32]]:
    """Of a backbone whose residuals are zeros."""
    batch, _, height, width = inputs["sample"].shape
    zeros = {
        entry.name: torch.zeros(resolve(entry.shape, batch=batch, height=height, width=width))
        for entry in session.get_inputs()
        if "residual" in entry.name
    }
    return run_session(session, {**inputs, **zeros})


def expected_maps(unet: UNet2DConditionModel, inputs: dict[str, Tensor], stride: int) -> Tensor:
    """From diffusers' forward pass, of the encoder and the decoder."""
    recorders: dict[str, Recorder] = {}
    for name, module in unet.named_modules():
        if isinstance(module, Attention):
            recorders[name] = Recorder()
            module.set_processor(recorders[name])
    with torch.no_grad():
        unet(inputs["sample"], inputs["timestep"], inputs["encoder_hidden_states"])
    height, width = (side // stride for side in inputs["sample"].shape[2:])
    means = [
        recorder.seen.mean(1)
        for name, recorder in recorders.items()
        if name.endswith("attn2") and not name.startswith("mid_block") and recorder.seen is not None
    ]
    of_level = [mean for mean in means if mean.shape[1] == height * width]
    assert len(of_level) >= 3
    mean: Tensor = torch.stack(of_level).mean(0).mT.unflatten(2, (height, width))
    return mean


@pytest.mark.parametrize(("batch", "height", "width"), [(1, 16, 16), (3, 8, 24)])
def test_maps_are_diffusers_own(
    bundle: Path, unet: UNet2DConditionModel, batch: int, height: int, width: int
) -> None:
    inputs = backbone_inputs(batch, height, width)
    maps = run_graph(open_session(bundle / "backbone.onnx"), inputs)["attention_maps"]
    assert maps.shape == (batch, MAX_LENGTH, height // 4, width // 4)
    np.testing.assert_allclose(maps.sum(1), 1.0, atol=1e-5)
    assert relative_error(maps, expected_maps(unet, inputs, 4).numpy()) <= 1e-5


@pytest.mark.skipif(not CUSTOM_OP, reason="FGDM_ORT_OPS_HOST doesn't name the op's library")
def test_a_runtime_with_the_op_makes_the_same_maps(bundle: Path) -> None:
    """They are made beside the op, of standard ones, whoever runs it."""
    inputs = backbone_inputs(2, 16, 16)
    inputs["attn_scale"] = torch.tensor([1.0, -10.0])
    options = session_options()
    options.register_custom_ops_library(CUSTOM_OP)
    custom = onnxruntime.InferenceSession(
        str(bundle / "backbone.onnx"), options, providers=["CPUExecutionProvider"]
    )
    plain = run_graph(open_session(bundle / "backbone.onnx"), inputs)
    for name, made in run_graph(custom, inputs).items():
        assert relative_error(made, plain[name]) <= 1e-4


def test_a_float16_graph_makes_float32_maps(tmp_path: Path, unet: UNet2DConditionModel) -> None:
    store = WeightStore(tmp_path, "fp16")
    store.save(unet, "unet", DIFFUSERS_FILE)
    graph = backbone_graph(unet, MAX_LENGTH, attention_maps=True).in_precision("fp16")
    check_graph(graph, export_graph(graph, store), TOLERANCE["fp16"])


def test_a_graph_without_maps_is_the_same_without_their_nodes(
    tmp_path: Path, unet: UNet2DConditionModel
) -> None:
    store = WeightStore(tmp_path, "fp16")
    store.save(unet, "unet", DIFFUSERS_FILE)
    kinds, made = [], []
    for attention_maps in (False, True):
        graph = backbone_graph(unet, MAX_LENGTH, 2, attention_maps)
        assert graph.attention_stride == (4 if attention_maps else None)
        path = export_graph(graph, store)
        model = onnx.load(path, load_external_data=False).graph
        names = [output.name for output in model.output]
        assert names == [
            *("noise_pred", "deep_features_1", "deep_features_2"),
            *(["attention_maps"] if attention_maps else []),
        ]
        kinds.append(Counter(node.op_type for node in model.node))
        made.append(run_graph(open_session(path), backbone_inputs(2, 8, 16)))
    plain, more = kinds
    assert not plain - more
    assert set(more - plain) >= {"MatMul", "Softmax", "ReduceMean"}
    for name, value in made[0].items():
        np.testing.assert_array_equal(value, made[1][name])


def test_a_network_without_cross_attention_makes_none() -> None:
    plain = UNet2DConditionModel(
        block_out_channels=(8, 8),
        down_block_types=("DownBlock2D",) * 2,
        up_block_types=("UpBlock2D",) * 2,
        norm_num_groups=4,
    )
    with pytest.raises(ExportError, match="leave --attention-maps out"):
        own_backbone_graph("backbone_depth", plain, MAX_LENGTH, attention_maps=True)


def test_the_manifest_says_which_graph_makes_them(bundle: Path, tiny_bundle: Path) -> None:
    strides = {
        name: graph.get("attention_stride")
        for name, graph in json.loads((bundle / "manifest.json").read_text())["graphs"].items()
    }
    assert {name: stride for name, stride in strides.items() if stride} == {"backbone": 4}
    assert "attention_stride" not in (tiny_bundle / "manifest.json").read_text()


@pytest.fixture(scope="module")
def engine(bundle: Path) -> Iterator[Engine]:
    with Engine(bundle, backend="cpu", threads=1) as opened:
        yield opened


def picture() -> Image.Image:
    rng = np.random.default_rng(5)
    coarse = rng.integers(0, 255, (8, 8, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((SIDE, SIDE), Image.Resampling.BICUBIC)


@pytest.fixture(scope="module")
def pipeline(bundle: Path, engine: Engine) -> Any:
    made = load_pipeline(bundle, engine.manifest["scheduler"])
    made.invert(
        picture(),
        num_inversion_steps=STEPS,
        skip=0.0,
        generator=torch.Generator().manual_seed(NOISE_SEED),
    )
    return made


@pytest.fixture(scope="module")
def inversion(engine: Engine, pipeline: Any) -> Inversion:
    """Of the pipeline's noise, from its noisiest step on; its last step loses what ours keeps."""
    like = pipeline.init_latents.shape
    generator = torch.Generator().manual_seed(NOISE_SEED)
    drawn = [torch.randn(like, generator=generator) for _ in range(STEPS)]
    ours = engine.invert(
        image=picture(),
        steps=STEPS,
        skip=0.0,
        timestep_spacing="leading",
        noise=torch.cat(drawn[::-1]).numpy(),
    )
    last_as_theirs = ours.remainders.copy()
    last_as_theirs[-1] = 0
    return dataclasses.replace(ours, remainders=last_as_theirs)


def own_tokens_alone(pipeline: Any) -> None:
    """With transformers 5 the pipeline takes a text's padding for words of it: its tokenizer's
    `length` counts it. Here it is told how many there are."""
    encode = pipeline.encode_prompt

    def counted(**options: Any) -> tuple[Any, Any, list[int]]:
        concepts, unconditional, _ = encode(**options)
        texts = options.get("editing_prompt") or []
        return (
            concepts,
            unconditional,
            [len(pipeline.tokenizer(one).input_ids) - 2 for one in texts],
        )

    pipeline.encode_prompt = counted


def edited(engine: Engine, inversion: Inversion, edits: list[Edit]) -> Latents:
    """The last step's prediction, of LEDITS++ as it was published."""
    seen: list[Latents] = []
    engine.edit(
        inversion, edits, keep=False, step_callback=lambda info: seen.append(info.predicted_x0())
    )
    return seen[-1]


def test_edits_equal_the_pipelines(engine: Engine, pipeline: Any, inversion: Inversion) -> None:
    edits = [
        Edit("a dog and a ball", scale=4.0, threshold=0.7, attention=True),
        Edit("a park bench", "-", scale=3.0, threshold=0.5, warm_up=1, attention=True),
    ]
    ours = edited(engine, inversion, edits)
    own_tokens_alone(pipeline)
    theirs = pipeline(
        output_type="latent",
        use_intersect_mask=True,
        editing_prompt=[edit.prompt for edit in edits],
        reverse_editing_direction=[False, True],
        edit_guidance_scale=[4.0, 3.0],
        edit_threshold=[0.7, 0.5],
        edit_warmup_steps=[0, 1],
        edit_cooldown_steps=[STEPS, STEPS],
    ).images.numpy()
    np.testing.assert_allclose(ours, theirs, atol=1e-3)
    everywhere = [dataclasses.replace(edit, attention=False) for edit in edits]
    assert np.abs(edited(engine, inversion, everywhere) - ours).max() > 0.01


def changed_pixels(engine: Engine, inversion: Inversion, edit: Edit) -> NDArray[np.bool_]:
    image = np.asarray(engine.edit(inversion, [edit]).image)
    changed: NDArray[np.bool_] = (image != np.asarray(inversion.picture)).any(axis=2)
    return changed


def test_attention_confines_an_edit(engine: Engine, inversion: Inversion) -> None:
    """What it may act on is a part of what the same edit without it may act on, not all of it."""
    anywhere = Edit("a dog", scale=9.0, threshold=0.5, warm_up=6, cool_down=7)
    looked_at = dataclasses.replace(anywhere, attention=True)
    part, whole = (changed_pixels(engine, inversion, edit) for edit in (looked_at, anywhere))
    assert part.any() and not (part & ~whole).any()
    assert part.sum() < 0.9 * whole.sum()


def test_a_bundle_without_maps_names_the_option(tiny_bundle: Path) -> None:
    with Engine(tiny_bundle, backend="cpu", threads=1) as engine:
        edits = [Edit("a dog", attention=True)]
        with pytest.raises(RequestError, match=r"edits\[0\] attention .*--attention-maps"):
            engine.invert(map=np.zeros((32, 32), np.uint8), steps=4, edits=edits)
