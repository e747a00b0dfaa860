"""Chains of no, one and several condition factors: what `export_bundle` writes of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from fgdm.export.bundle import export_bundle
from fgdm.export.calibration import sampling_calls
from fgdm.export.defaults import ConditionDefaults
from fgdm.export.errors import ExportError
from fgdm.export.factors import AdapterSource, FactorSource
from fgdm.export.graphs import (
    adapter_graph,
    backbone_graph,
    decoder_graph,
    encoder_graph,
    text_encoder_graph,
)
from fgdm.export.image_networks import NetworkSource
from fgdm.export.picture import check_picture
from fgdm.export.reference import Reference
from fgdm.export.signature import Graph
from fgdm.export.sources import load_models
from fgdm.inspect import describe

from tests.export.sources import layouts
from tests.export.sources.tiny_ldm import save
from tests.tiny_models import CHANNELS, PALETTE, TinyCheckpoint, build_adapter

PROMPTS = ["a dog on the grass", "blurry"]


@pytest.fixture(scope="module")
def two_latents(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An adapter that sees the latents of two factors."""
    return build_adapter(tmp_path_factory.mktemp("adapters") / "two", latents=2)


def joint_checkpoint(path: Path, further: int) -> Path:
    """FG-DM's joint variant with random weights."""

    def tensors(entries: list[layouts.Entry], seed: int) -> dict[str, torch.Tensor]:
        return {key: 0.1 * value for key, value in layouts.random_file(entries, seed).items()}

    return save(path, layouts.joint_file(CHANNELS, further, tensors))


@pytest.fixture(scope="module")
def chain(
    tiny_checkpoint: TinyCheckpoint, two_latents: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Segmentation; depth, which sees both; edges of two kinds; an image with an adapter."""
    folder = tmp_path_factory.mktemp("chain")
    joint = joint_checkpoint(folder / "joint.ckpt", further=2)
    steps = ConditionDefaults(num_inference_steps=20, prompt_prefix="a sketch of ", size=(48, 64))
    return export_bundle(
        tiny_checkpoint.base,
        {
            "image": FactorSource(AdapterSource(tiny_checkpoint.adapter, ("depth",))),
            "segmentation": tiny_checkpoint.adapter,
            "depth": FactorSource(AdapterSource(two_latents, ("segmentation", "depth"))),
            "edges": FactorSource(
                [
                    AdapterSource(tiny_checkpoint.adapter),
                    AdapterSource(joint, ("edges", "depth", "segmentation")),
                ],
                output="sketch",
                lines="black",
                defaults=steps,
                optional=True,
            ),
        },
        [
            NetworkSource(tiny_checkpoint.controlnet, "segmentation"),
            NetworkSource(tiny_checkpoint.controlnet, "depth", 0.5),
        ],
        tiny_checkpoint.palette,
        folder / "bundle",
        name="chain",
        hint_palette={**PALETTE, "name": "other"},
        check=False,
    )


@pytest.fixture
def manifest(chain: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((chain / "manifest.json").read_text())
    return content


def test_the_manifest_describes_every_factor(manifest: dict[str, Any]) -> None:
    segmentation, depth, edges, image = manifest["factors"]
    assert [(f["name"], f.get("output")) for f in manifest["factors"]] == [
        ("segmentation", "labels"),
        ("depth", "depth"),
        ("edges", "sketch"),
        ("image", None),
    ]
    assert edges["lines"] == "black" and edges["optional"] is True
    assert "optional" not in depth
    assert segmentation["palette"] == "palette.json"
    for factor in (depth, edges):
        assert not {"palette", "stop_at_recall", "wave", "min_area"} & factor.keys()
    assert [(f["height"], f["width"]) for f in (depth, edges)] == [(32, 32), (48, 64)]
    assert [f["num_inference_steps"] for f in (depth, edges)] == [10, 20]
    assert [f["prompt_prefix"] for f in (depth, edges)] == ["", "a sketch of "]
    seen = {
        entry["graph"]: entry["latents"]
        for factor in manifest["factors"]
        for entry in factor["conditionings"]
        if entry["kind"] == "adapter"
    }
    assert seen == {
        "adapter_segmentation": ["segmentation"],
        "adapter_depth": ["segmentation", "depth"],
        "adapter_edges": ["edges"],
        "adapter_edges_2": ["edges"],
        "adapter_edges_3": ["depth"],
        "adapter_edges_4": ["segmentation"],
        "adapter_image": ["depth"],
    }
    networks = [entry for entry in image["conditionings"] if entry["kind"] == "controlnet"]
    assert [entry["hint_palette"] for entry in networks] == ["hint_palette.json", None]
    assert [entry["scale"] for entry in networks] == [1.0, 0.5]


def test_an_adapter_of_two_latents_has_an_input_of_both(
    chain: Path, manifest: dict[str, Any]
) -> None:
    graph = onnx.load(chain / "adapter_depth.onnx", load_external_data=False).graph
    (sample,) = [entry for entry in graph.input if entry.name == "sample"]
    assert sample.type.tensor_type.shape.dim[1].dim_value == 8
    assert manifest["graphs"]["adapter_depth"]["inputs"][0]["shape"][1] == 8
    assert manifest["graphs"]["adapter_segmentation"]["inputs"][0]["shape"][1] == 4


def test_inspect_shows_the_chain(chain: Path) -> None:
    text = "\n".join(describe(chain, verify=True).lines())
    assert "depth  condition, depth, 32×32 px" in text
    assert "adapter on segmentation, depth (adapter_depth)" in text
    assert "edges  condition, sketch in black lines, optional, 64×48 px, 20 steps" in text
    assert "adapter (adapter_edges) + adapter (adapter_edges_2) + adapter on depth" in text


def noise(factor: dict[str, Any], seed: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    shape = (1, 4, factor["height"] // 4, factor["width"] // 4)
    return np.random.default_rng(seed).standard_normal(shape, np.float32)


def test_the_reference_samples_factor_after_factor(chain: Path) -> None:
    """What comes later sees what came earlier, at its own size, and zeros of what is left out."""
    reference = Reference(chain)
    noises = {f["name"]: noise(f, seed) for seed, f in enumerate(reference.conditions)}
    every = dict.fromkeys(noises, PROMPTS)
    maps = reference.maps(every, noises, 2, 4.0)
    assert list(maps) == ["segmentation", "depth", "edges"]
    assert maps["edges"].final.shape == (1, 4, 12, 16)
    assert not np.allclose(maps["depth"].clean, maps["depth"].final)
    without = reference.maps({**every, "segmentation": PROMPTS[::-1]}, noises, 2, 4.0)
    assert not np.allclose(without["depth"].final, maps["depth"].final, atol=1e-3)
    del every["depth"]
    left_out = reference.maps(every, noises, 2, 4.0)
    assert list(left_out) == ["segmentation", "edges"]
    np.testing.assert_array_equal(left_out["segmentation"].final, maps["segmentation"].final)
    assert not np.allclose(left_out["edges"].final, maps["edges"].final, atol=1e-3)
    picture = reference.picture(
        PROMPTS,
        noise(reference.image, 9),
        2,
        4.0,
        {name: np.zeros((64, 64, 3), np.uint8) for name in noises},
        {name: sampled.final for name, sampled in maps.items()},
    )
    assert picture.shape == (64, 64, 3) and picture.std() > 1


def test_the_engine_samples_what_diffusers_samples(chain: Path) -> None:
    """Adapters that see earlier latents, other sizes, summed adapters, an image with an adapter."""
    assert check_picture(chain) < 1e-4


@pytest.mark.parametrize("precision", ["fp32", pytest.param("fp16", marks=pytest.mark.nightly)])
def test_a_bundle_that_only_paints(
    tiny_checkpoint: TinyCheckpoint, tmp_path: Path, precision: Any
) -> None:
    """From the prompt alone, or from a picture that the request brings."""
    networks = [NetworkSource(tiny_checkpoint.controlnet, "canny")] if precision == "fp32" else []
    output = tmp_path / "plain"
    export_bundle(
        tiny_checkpoint.base,
        {},
        networks,
        None,
        output,
        name="plain",
        precision=precision,
    )
    description = describe(output, verify=True)
    assert [factor.name for factor in description.manifest.factors] == ["image"]
    assert not (output / "palette.json").exists()
    if precision == "fp16":
        graphs = json.loads((output / "manifest.json").read_text())["graphs"]
        assert all(graph["largest_float16"]["value"] > 0 for graph in graphs.values())


def test_calibration_of_an_adapter_of_two_latents(
    tiny_checkpoint: TinyCheckpoint, two_latents: Path
) -> None:
    """It sees the noisy latent, and those of the map before."""
    base = tiny_checkpoint.base
    models = load_models(base, [tiny_checkpoint.adapter, two_latents], [])
    graphs: list[Graph] = [
        text_encoder_graph(models.text_encoder, models.max_length),
        adapter_graph("adapter_segmentation", models.adapters[0][0], models.unet),
        adapter_graph("adapter_depth", models.adapters[1][0], models.unet),
        decoder_graph(models.vae, models.downscale),
        encoder_graph(models.vae, models.downscale),
        backbone_graph(models.unet, models.max_length),
    ]
    calls = sampling_calls(graphs, base / "tokenizer", models.scheduler, (8, 8))
    seen = [call["sample"] for call in calls["adapter_depth"]]
    assert {tuple(sample.shape) for sample in seen} == {(1, 8, 8, 8)}
    assert all(torch.equal(sample[:, 4:], seen[0][:, 4:]) for sample in seen)
    assert not torch.equal(seen[0][:, :4], seen[-1][:, :4])


@pytest.mark.parametrize(
    ("factors", "networks", "message"),
    [
        ({"depth": FactorSource("two")}, [], r"depth sees the latents of 2 factors; say which"),
        (
            {"depth": FactorSource(AdapterSource("two", ("depth",)))},
            [],
            r"the latents of 2 factors, but 1 are named: depth",
        ),
        (
            {"depth": FactorSource(AdapterSource("two", ("depth", "depth")))},
            [],
            r"sees depth, depth; expected each factor's latents once",
        ),
        (
            {"depth": FactorSource(AdapterSource("one", ("segmentation",))), "segmentation": "one"},
            [],
            r"can't see the latents of 'segmentation'; expected depth itself or .* before it: none",
        ),
        ({"depth": FactorSource("one", output="sound")}, [], r"makes 'sound'; expected one of"),
        ({"depth": FactorSource("one", lines="grey")}, [], r"lines 'grey'; expected white or"),
        ({"depth": FactorSource([])}, [], r"factor depth has no adapter"),
        ({"image": FactorSource("one", output="depth")}, [], r"the image is no condition factor"),
        (
            {"depth": FactorSource("one", defaults=ConditionDefaults(num_inference_steps=0))},
            [],
            r"factor depth: num_inference_steps is 0",
        ),
        (
            {"depth": FactorSource("one", defaults=ConditionDefaults(size=(20, 32)))},
            [],
            r"maps of factor depth are 20x32; expected multiples of 16",
        ),
        (
            {"depth": "one", "normal": "one"},
            [None],
            r"say what .* sees, as depth=.*: one of the factors depth, normal, or the name",
        ),
        ({}, [None], r"say what .* sees, as depth=.*: the name of a picture that requests bring"),
        ({"depth": "one", "normal": "one"}, ["canny"], r"paints from the maps of depth, normal"),
        ({"depth_hint": "one"}, [], r"no '_hint' at its end"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_chains_that_cannot_be(
    tiny_checkpoint: TinyCheckpoint,
    two_latents: Path,
    tmp_path: Path,
    factors: dict[str, Any],
    networks: list[str | None],
    message: str,
) -> None:
    sources = {"one": tiny_checkpoint.adapter, "two": two_latents}

    def located(adapter: Any) -> Any:
        if isinstance(adapter, AdapterSource):
            return AdapterSource(sources[str(adapter.source)], adapter.latents)
        return sources[adapter]

    given: dict[str, Any] = {
        name: FactorSource(
            located(factor.adapters) if factor.adapters else [],
            factor.output,
            factor.lines,
            factor.defaults,
        )
        if isinstance(factor, FactorSource)
        else located(factor)
        for name, factor in factors.items()
    }
    palette = tiny_checkpoint.palette if {"segmentation", "depth_hint"} & set(factors) else None
    with pytest.raises(ExportError, match=message):
        export_bundle(
            tiny_checkpoint.base,
            given,
            [NetworkSource(tiny_checkpoint.controlnet, name) for name in networks],
            palette,
            tmp_path / "b",
            name="b",
        )
    assert not list(tmp_path.iterdir())
