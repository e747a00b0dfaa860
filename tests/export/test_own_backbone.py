"""Factors with a backbone of their own: exported, run against diffusers' classes, refused."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from diffusers import UNet2DConditionModel
from fgdm.engine import Engine
from fgdm.export.addition import add_factor
from fgdm.export.bundle import export_bundle
from fgdm.export.cli import run
from fgdm.export.errors import ExportError
from fgdm.export.factors import FactorSource
from fgdm.export.image_networks import NetworkSource
from fgdm.export.own_backbone import BackboneSource
from fgdm.export.picture import check_picture
from fgdm.export.plans.chain import Chain
from fgdm.export.reference import Reference
from fgdm.inspect import describe
from fgdm.manifest import read_manifest
from torch import Tensor
from torch.nn.functional import interpolate

from tests.export.test_addition import assert_only_added, manifest_of
from tests.export.test_bundle import contents
from tests.export.test_cli import parse
from tests.export.test_factor_graph import NEGATIVE, PROMPT, SCALE, STEPS, Array, Loop
from tests.tiny_models import TinyCheckpoint, build_adapter, build_backbone

SEES = ("segmentation", "depth")
PAINTS = ("depth", "image", "segmentation")


@pytest.fixture(scope="module")
def unets(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """UNets by the number of latents that they see."""
    folder = tmp_path_factory.mktemp("unets")
    return {count: build_backbone(folder / str(count), count) for count in (1, 2, 3)}


@pytest.fixture(scope="module")
def bundle(
    tiny_checkpoint: TinyCheckpoint,
    unets: dict[int, Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """segmentation -> depth, whose own backbone sees it -> image, whose own backbone sees both."""
    return export_bundle(
        tiny_checkpoint.base,
        {
            "segmentation": tiny_checkpoint.adapter,
            "depth": FactorSource(backbone=BackboneSource(unets[2], SEES)),
            "image": FactorSource(backbone=BackboneSource(unets[3], PAINTS)),
        },
        [],
        tiny_checkpoint.palette,
        tmp_path_factory.mktemp("own") / "bundle",
        name="own",
        check=False,
    )


class OwnLoop(Loop):
    """The loop in which the depth map's noise is predicted by its own UNet."""

    def __init__(self, bundle: Path, noise: dict[str, Array]) -> None:
        super().__init__(Reference(bundle), noise)
        self._own = UNet2DConditionModel.from_pretrained(
            bundle / "backbone_depth", torch_dtype=torch.float32
        )

    def _predict(
        self, factor: dict[str, Any], pair: Tensor, time: Tensor, embeddings: Tensor, more: Any
    ) -> Tensor:
        if factor["name"] != "depth":
            return super()._predict(factor, pair, time, embeddings, more)
        segmentation = torch.zeros(pair.shape)
        if "segmentation" in self.latents:
            seen = torch.from_numpy(self.latents["segmentation"])
            size = cast("tuple[int, int]", tuple(pair.shape[2:]))
            segmentation = interpolate(seen, size, mode="bilinear").repeat(2, 1, 1, 1)
        beside = torch.cat([segmentation, pair], dim=1)
        return cast(Tensor, self._own(beside, time, embeddings).sample)


def _noise(bundle: Path) -> dict[str, Array]:
    rng = np.random.default_rng(3)
    return {
        factor["name"]: rng.standard_normal(
            (1, 4, factor["height"] // 4, factor["width"] // 4), np.float32
        )
        for factor in manifest_of(bundle)["factors"]
    }


def _options(noise: dict[str, Array], left_out: tuple[str, ...] = ()) -> dict[str, Any]:
    return {
        "negative_prompt": NEGATIVE,
        "factors": {
            name: None if name in left_out else {"latents": noise[name], "candidates": 1}
            for name in SEES
        },
        "latents": noise["image"],
        "condition_steps": STEPS,
        "condition_guidance_scale": SCALE,
        "num_inference_steps": STEPS,
        "guidance": "cfg",
        "guidance_scale": SCALE,
        "stop_at_recall": 0.0,
        "seed": 1,
    }


@pytest.mark.parametrize(
    "groups",
    [(("segmentation",), ("depth",)), (SEES,), (("depth",),)],
    ids=["sequential", "joint", "alone"],
)
def test_every_step_is_that_of_an_independent_loop(
    bundle: Path, groups: tuple[tuple[str, ...], ...]
) -> None:
    noise = _noise(bundle)
    loop = OwnLoop(bundle, {name: noise[name] for name in SEES})
    for group in groups:
        loop.run(group)
    names = [name for group in groups for name in group]
    seen: dict[str, list[Array]] = {name: [] for name in (*names, "image")}
    left_out = tuple(set(SEES) - set(names))
    joint = groups[0] if len(groups[0]) > 1 else ()
    with Engine(bundle, backend="cpu", threads=1) as engine:
        result = engine.generate(
            PROMPT,
            joint=joint,
            step_callback=lambda info: seen[info.factor].append(info.predicted_x0()),
            **_options(noise, left_out),
        )
    assert list(result.factors) == names
    for name in names:
        assert len(seen[name]) == STEPS
        for ours, theirs in zip(seen[name], loop.clean[name], strict=True):
            assert np.abs(ours - theirs).max() / np.abs(theirs).max() <= 1e-3, name
    painted = Reference(bundle).picture(
        [PROMPT, NEGATIVE], noise["image"], STEPS, SCALE, {}, loop.latents
    )
    error = np.mean((np.asarray(result.image, float) - painted) ** 2)
    assert 10 * np.log10(255**2 / error) >= 40


def test_what_the_manifest_says(bundle: Path) -> None:
    manifest = manifest_of(bundle)
    _, depth, image = manifest["factors"]
    assert (depth["backbone"], depth["latents"]) == ("backbone_depth", list(SEES))
    assert (image["backbone"], image["latents"]) == ("backbone_image", list(PAINTS))
    assert depth["conditionings"] == image["conditionings"] == []
    inputs = {
        port["name"]: port["shape"] for port in manifest["graphs"]["backbone_depth"]["inputs"]
    }
    assert list(inputs) == [
        *("sample", "timestep", "encoder_hidden_states", "attn_scale", "argmax_mask")
    ]
    assert inputs["sample"][1] == 8
    stored = UNet2DConditionModel.from_pretrained(bundle / "backbone_depth")
    assert stored.config.in_channels == 8
    text = "\n".join(describe(bundle, verify=True).lines())
    assert "own backbone on segmentation, depth (backbone_depth)" in text


def test_plans_are_built_for_each_backbone(bundle: Path) -> None:
    needed = {item.graph: item.profiles for item in Chain(read_manifest(bundle)).needed(3)}
    rows = {
        name: [(profile.rows, profile.height) for profile in needed[name]]
        for name in ("backbone", "backbone_depth", "backbone_image")
    }
    maps = [(1, 32), (2, 32), (4, 32), (6, 32)]
    assert rows == {
        "backbone": maps,
        "backbone_depth": maps,
        "backbone_image": [(1, 64), (2, 64)],
    }


def test_the_profile_names_the_backbone(bundle: Path) -> None:
    with Engine(bundle, backend="cpu", threads=1) as engine:
        (times,) = engine.profile([2], repeats=1)["profiles"].values()
    assert [entry.get("backbone") for entry in times] == [None, "backbone_depth", "backbone_image"]


@pytest.mark.parametrize("precision", ["fp32", pytest.param("fp16", marks=pytest.mark.nightly)])
def test_a_factor_with_its_backbone_is_added(
    tiny_bundle: Path,
    tiny_fp16_bundle: Path,
    unets: dict[int, Path],
    tiny_checkpoint: TinyCheckpoint,
    tmp_path: Path,
    precision: str,
) -> None:
    """By the command, and the picture is diffusers'."""
    bundle = tmp_path / "bundles" / "tiny"
    shutil.copytree(tiny_bundle if precision == "fp32" else tiny_fp16_bundle, bundle)
    before, old = contents(bundle), manifest_of(bundle)
    arguments = [
        "--add-factor=depth",
        f"--into={bundle}",
        f"--backbone=depth:segmentation,depth={unets[2]}",
        f"--controlnet={tiny_checkpoint.controlnet}:0.5",
    ]
    assert run(parse(*arguments)) == 0
    assert_only_added(bundle, before, old)
    manifest = manifest_of(bundle)
    assert manifest["factors"][1]["backbone"] == "backbone_depth"
    assert manifest["graphs"]["backbone_depth"]["precision"] == precision
    if precision == "fp16":
        assert manifest["graphs"]["backbone_depth"]["largest_float16"]["value"] > 0
        assert manifest["graphs"]["backbone_depth"]["inputs"][2]["dtype"] == "float16"
    with pytest.raises(ExportError, match="has a factor depth already"):
        add_factor(bundle, "depth", FactorSource(backbone=BackboneSource(unets[1])))


def test_the_engine_samples_what_diffusers_samples(bundle: Path) -> None:
    assert check_picture(bundle) < 1e-4


def test_what_does_not_fit(
    tiny_checkpoint: TinyCheckpoint, unets: dict[int, Path], tmp_path: Path
) -> None:
    odd = tmp_path / "odd"
    shutil.copytree(unets[2], odd)
    config = json.loads((odd / "config.json").read_text())

    def changed(**entries: Any) -> Path:
        """A UNet of random numbers with another configuration."""
        folder = tmp_path / "_".join(entries)
        torch.manual_seed(1)
        UNet2DConditionModel.from_config({**config, **entries}).save_pretrained(folder)
        return folder

    deeper = {
        "block_out_channels": (8, 8, 8, 8),
        "down_block_types": ("CrossAttnDownBlock2D",) * 4,
        "up_block_types": ("CrossAttnUpBlock2D",) * 4,
    }
    two, adapter = unets[2], build_adapter(tmp_path / "adapter")
    cases: list[tuple[dict[str, Any], list[Any], str]] = [
        ({"depth": BackboneSource(two)}, [], "sees the latents of 2 factors; say which"),
        (
            {"depth": BackboneSource(two, ("depth",))},
            [],
            "the latents of 2 factors, but 1 are named: depth",
        ),
        (
            {"depth": BackboneSource(two, ("depth", "depth"))},
            [],
            "sees depth, depth; expected each factor's latents once",
        ),
        (
            {"depth": BackboneSource(two, ("normal", "depth")), "normal": adapter},
            [],
            "can't see the latents of 'normal'; expected depth itself or a factor before it: none",
        ),
        (
            {"normal": adapter, "depth": BackboneSource(unets[1], ("normal",))},
            [],
            "sees normal; expected depth among them, for the noisy latent",
        ),
        (
            {"depth": BackboneSource(changed(in_channels=6))},
            [],
            "takes 6 channels; expected a multiple of 4",
        ),
        (
            {"depth": BackboneSource(changed(in_channels=8, out_channels=8), ("depth",))},
            [],
            "predicts noise of so many channels: 8; expected the base's 4",
        ),
        (
            {"depth": BackboneSource(changed(in_channels=4, cross_attention_dim=16))},
            [],
            "has a cross_attention_dim: 16; expected the base's 32",
        ),
        (
            {"depth": BackboneSource(changed(in_channels=4, **deeper))},
            [],
            "makes latents 8 times smaller within; expected a divisor of 4, the base's",
        ),
        (
            {"depth": BackboneSource(changed(in_channels=4, class_embed_type="timestep"))},
            [],
            "a class-conditioned model",
        ),
        ({"depth": BackboneSource(adapter)}, [], "holds a TimestepAdapter; expected a UNet2D"),
        ({"depth": BackboneSource(tmp_path / "nothing")}, [], "the backbone: there is no"),
        (
            {"depth": FactorSource(adapter, backbone=BackboneSource(unets[1]))},
            [],
            "depth has a backbone of its own, which takes no adapters; leave out either",
        ),
        (
            {"depth": adapter, "image": BackboneSource(two, ("depth", "image"))},
            [NetworkSource(tiny_checkpoint.controlnet, "depth")],
            "the image has a backbone of its own, which takes no controlnet_depth; leave out",
        ),
        (
            {"depth": adapter, "image": BackboneSource(unets[1])},
            [],
            "no ControlNet or T2I-Adapter paints from the maps of depth",
        ),
    ]
    for factors, networks, message in cases:
        given = {
            name: FactorSource(backbone=entry) if isinstance(entry, BackboneSource) else entry
            for name, entry in factors.items()
        }
        with pytest.raises(ExportError, match=re.escape(message)):
            export_bundle(tiny_checkpoint.base, given, networks, None, tmp_path / "b", name="b")
        assert not (tmp_path / "b").exists()


def test_an_image_with_its_own_backbone_gets_no_networks(
    bundle: Path, tiny_checkpoint: TinyCheckpoint, tmp_path: Path
) -> None:
    copy = tmp_path / "bundles" / "own"
    shutil.copytree(bundle, copy)
    before = contents(copy)
    with pytest.raises(ExportError, match="the image has a backbone of its own"):
        add_factor(copy, "normal", tiny_checkpoint.adapter, tiny_checkpoint.controlnet)
    assert contents(copy) == before


def test_one_backbone_a_factor(
    tiny_checkpoint: TinyCheckpoint, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [
        f"--base={tiny_checkpoint.base}",
        "--backbone=depth=one",
        "--backbone=depth=two",
        f"--output={tmp_path / 'b'}",
    ]
    assert run(parse(*arguments)) == 1
    assert "factor depth has two backbones; expected one" in capsys.readouterr().err
