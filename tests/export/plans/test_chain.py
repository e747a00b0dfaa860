"""Protects that every shape the engine can ask for gets a plan, and no other shape does."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from fgdm.export.errors import ExportError
from fgdm.export.plans.chain import Chain, Profile, buckets
from fgdm.manifest import read_manifest

from tests.export.plans.small_bundle import reseal


def chain(bundle: Path) -> Chain:
    return Chain(read_manifest(bundle))


def rows(found: Chain, graph: str, candidates: int, side: int) -> list[int]:
    """The rows of a graph's profiles at a square size, in order."""
    (item,) = [item for item in found.needed(candidates) if item.graph == graph]
    return [profile.rows for profile in item.profiles if profile.height == side]


def test_ten_candidates_make_the_buckets_of_the_issue(pristine_bundle: Path) -> None:
    found = chain(pristine_bundle)
    assert rows(found, "backbone", 10, 16) == [1, 2, 4, 8, 16, 20]
    assert rows(found, "backbone", 10, 32) == [1, 2]
    assert rows(found, "controlnet_segmentation", 10, 32) == [1, 2]
    assert rows(found, "controlnet_segmentation", 10, 16) == []
    assert rows(found, "adapter_segmentation", 10, 16) == [1, 2, 4, 8, 10]
    assert rows(found, "adapter_segmentation", 10, 32) == []
    assert rows(found, "vae_decoder", 10, 16) == [1, 2, 4, 8, 10]
    assert rows(found, "vae_decoder", 10, 32) == [1]
    assert rows(found, "controlnet_hint", 10, 32) == [1]
    assert rows(found, "text_encoder", 10, 0) == [1]
    assert rows(found, "vae_encoder", 10, 16) == rows(found, "vae_encoder", 10, 32) == [1]


@pytest.mark.parametrize(
    ("most", "expected"),
    [
        (1, [1]),
        (2, [1, 2]),
        (3, [1, 2, 3]),
        (20, [1, 2, 4, 8, 16, 20]),
        (24, [1, 2, 4, 8, 16, 20, 24]),
    ],
)
def test_the_largest_batch_has_a_bucket_of_its_own(most: int, expected: list[int]) -> None:
    assert buckets(most) == expected


def test_maps_follow_the_image_size_in_the_bundles_ratio(pristine_bundle: Path) -> None:
    needed = {item.graph: item for item in chain(pristine_bundle).needed(1, [(64, 32), (32, 64)])}
    assert needed["adapter_segmentation"].profiles == (Profile(1, 16, 32), Profile(1, 32, 16))
    assert needed["controlnet_hint"].profiles == (Profile(1, 32, 64), Profile(1, 64, 32))
    assert needed["text_encoder"].profiles == (Profile(1),)


def test_shapes_are_the_manifests_with_numbers(pristine_bundle: Path) -> None:
    shapes = chain(pristine_bundle).shapes("adapter_segmentation", Profile(8, 16, 24))
    assert shapes == {"sample": (8, 4, 4, 6), "intrablock_residual_0": (8, 4, 2, 3)}
    shapes = chain(pristine_bundle).shapes("controlnet_hint", Profile(1, 32, 64))
    assert shapes == {"controlnet_cond": (1, 3, 32, 64), "hint": (1, 4, 8, 16)}


def test_loras_have_the_rank_of_all_of_the_bundles(bundle: Path) -> None:
    """Whatever requests name: plans have fixed shapes."""
    manifest = json.loads((bundle / "manifest.json").read_text())
    manifest["graphs"]["text_encoder"]["inputs"] += [
        {"name": "lora_down", "dtype": "float32", "shape": [96, "lora_rank"]},
        {"name": "lora_scale", "dtype": "float32", "shape": ["batch", "lora_rank"]},
    ]
    lora = {"file": "backbone.onnx", "factors": ["image"]}
    loras = [{"name": "style", "rank": 16, **lora}, {"name": "line", "rank": 4, **lora}]
    reseal(bundle, graphs=manifest["graphs"], loras=loras)
    shapes = chain(bundle).shapes("text_encoder", Profile(2))
    assert shapes["lora_down"] == (96, 20)
    assert shapes["lora_scale"] == (2, 20)
    (needed,) = (item for item in chain(bundle).needed(1) if item.graph == "text_encoder")
    assert needed.profiles == (Profile(1),)


@pytest.mark.parametrize("size", [(40, 32), (32, 0), (30, 30), (8, 32)])
def test_a_size_that_does_not_divide_names_the_multiple(
    pristine_bundle: Path, size: tuple[int, int]
) -> None:
    with pytest.raises(ExportError, match=rf"{size[0]}x{size[1]}.*expected multiples of 16"):
        chain(pristine_bundle).needed(1, [size])


def test_images_of_several_requests_share_a_batch(pristine_bundle: Path) -> None:
    alone = {item.graph: item for item in chain(pristine_bundle).needed(1)}
    needed = {item.graph: item for item in chain(pristine_bundle).needed(1, max_images=4)}
    assert [profile.rows for profile in needed["controlnet_segmentation"].profiles] == [1, 2, 4, 8]
    assert [profile.rows for profile in needed["backbone"].profiles] == [1, 2, 1, 2, 4, 8]
    assert needed["adapter_segmentation"] == alone["adapter_segmentation"]
    for graph in ("controlnet_hint", "vae_decoder"):
        assert needed[graph] == alone[graph]


def test_no_images(pristine_bundle: Path) -> None:
    with pytest.raises(ExportError, match="at most 0 images"):
        chain(pristine_bundle).needed(1, max_images=0)


def test_no_candidates(pristine_bundle: Path) -> None:
    with pytest.raises(ExportError, match="at most 0 candidates"):
        chain(pristine_bundle).needed(0)


def test_an_unknown_symbol_names_the_graph(bundle: Path) -> None:
    manifest = json.loads((bundle / "manifest.json").read_text())
    manifest["graphs"]["vae_decoder"]["inputs"][0]["shape"] = ["batch", 4, "rows", "width"]
    reseal(bundle, graphs=manifest["graphs"])
    with pytest.raises(ExportError, match="graph vae_decoder, latents: the size 'rows'"):
        chain(bundle).shapes("vae_decoder", Profile(1, 16, 16))
