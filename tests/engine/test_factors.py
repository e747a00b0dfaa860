"""Factors that are given, refined, left out or sampled jointly, and pictures from pictures."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fgdm.engine import Engine
from fgdm.errors import RequestError
from fgdm.request import FactorOptions
from PIL import Image

QUICK: dict[str, Any] = {
    "candidates": 2,
    "condition_steps": 3,
    "num_inference_steps": 3,
    "seed": 1,
    "objects": ["dog"],
}


@pytest.fixture(scope="module")
def engine(tiny_bundle: Path) -> Iterator[Engine]:
    with Engine(tiny_bundle, backend="cpu", threads=1) as opened:
        yield opened


def _size(engine: Engine) -> tuple[int, int]:
    factor = engine.manifest["factors"][0]
    return factor["height"], factor["width"]


def _classes(engine: Engine) -> list[str]:
    return list(engine.generate("a dog", **QUICK).colors)


def test_a_factor_has_a_result_of_its_own(engine: Engine) -> None:
    result = engine.generate("a dog", **QUICK)
    (name,) = result.factors
    factor = result.factors[name]
    assert factor.candidates == result.candidates or len(factor.candidates) == 2
    assert (factor.chosen, factor.recall) == (result.chosen, result.recall)
    assert (factor.labels == result.labels).all()
    assert not factor.given
    assert factor.timings["backbone"] <= result.timings["backbone"]
    parameters: Any = result.parameters["factors"]
    assert parameters[name]["condition_steps"] == 3


def test_labels_that_are_given_are_kept(engine: Engine) -> None:
    dog = _classes(engine).index("dog")
    labels = np.full(_size(engine), 255, np.uint8)
    labels[:8] = dog
    result = engine.generate("a dog", factors={"segmentation": {"map": labels}}, seed=1)
    factor = result.factors["segmentation"]
    assert factor.given
    assert (factor.labels == labels).all()
    assert factor.unknown_pixels == (labels == 255).sum()
    assert result.found == ("dog",)
    assert result.map_rows == 0
    assert result.candidates[0].steps == 0


def test_a_picture_that_is_given_takes_the_nearest_colours(engine: Engine) -> None:
    labels = np.zeros(_size(engine), np.uint8)
    labels[:, 10:] = 1
    exact = engine.generate("a dog", factors={"segmentation": {"map": labels}}, seed=1)
    shifted = np.asarray(exact.map).astype(int) + 5
    picture = Image.fromarray(np.clip(shifted, 0, 255).astype(np.uint8))
    near = engine.generate("a dog", factors={"segmentation": {"map": picture}}, seed=1)
    assert (near.labels == labels).all()
    assert near.map.tobytes() == exact.map.tobytes()
    assert near.image.tobytes() == exact.image.tobytes()


def test_a_refined_map_takes_part_of_the_steps(engine: Engine) -> None:
    labels = np.zeros(_size(engine), np.uint8)
    seen: list[tuple[str, int, int]] = []
    engine.generate(
        "a dog",
        factors={"segmentation": {"map": labels, "strength": 0.7}},
        step_callback=lambda info: seen.append((info.factor, info.step, info.num_steps)),
        **QUICK,
    )
    assert [entry for entry in seen if entry[0] == "segmentation"] == [
        ("segmentation", 0, 2),
        ("segmentation", 1, 2),
    ]


def test_a_request_without_maps(engine: Engine) -> None:
    result = engine.generate("a dog", factors={"segmentation": None}, seed=1)
    assert result.factors == {}
    assert result.candidates == ()
    assert (result.chosen, result.recall, result.found) == (-1, 1.0, ())
    with pytest.raises(RequestError, match="made no map"):
        _ = result.map
    assert result.to_json()["map"] is None
    again = engine.generate("a dog", factors={"segmentation": None}, seed=1)
    assert again.image.tobytes() == result.image.tobytes()


def test_a_joint_image_is_that_of_the_chosen_candidate(engine: Engine) -> None:
    joint = {**QUICK, "joint": ["segmentation", "image"], "joint_refresh": 2}
    seen: dict[tuple[str, int], list[int]] = {}
    pictures = {}

    def watch(info: Any) -> None:
        seen.setdefault((info.factor, info.step), []).extend(info.candidates)
        if info.factor == "image" and info.step == 2:
            pictures.update({i: info.preview(i).astype(int) for i in info.candidates})

    result = engine.generate("a dog", step_callback=watch, **joint)
    assert list(result.factors) == ["segmentation"]
    assert result.parameters["joint_refresh"] == 2
    assert seen == {
        (factor, step): [0, 1] for step in range(3) for factor in ("segmentation", "image")
    }
    distance = {
        i: np.abs(picture - np.asarray(result.image)).mean() for i, picture in pictures.items()
    }
    assert min(distance, key=lambda i: distance[i]) == result.candidates[result.chosen].index
    alone = engine.generate("a dog", **{**QUICK, "joint": None})
    assert result.map.tobytes() == alone.map.tobytes()  # maps don't see the image
    assert result.image.tobytes() != alone.image.tobytes()


@pytest.mark.parametrize("kind", ["alpha", "white", "array"])
def test_masks_of_every_kind_say_the_same(engine: Engine, kind: str) -> None:
    factor = engine.manifest["factors"][-1]
    height, width = factor["height"], factor["width"]
    rng = np.random.default_rng(1)
    pixels = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    anew = np.zeros((height, width), bool)
    anew[: height // 2] = True
    masks: dict[str, Any] = {
        "alpha": Image.fromarray(np.dstack([pixels, np.where(anew, 0, 255)]).astype(np.uint8)),
        "white": Image.fromarray(np.where(anew, 255, 0).astype(np.uint8)),
        "array": anew,
    }
    result = engine.generate("a dog", image=pixels, mask=masks[kind], **QUICK)
    painted = np.asarray(result.image)
    assert (painted[~anew] == pixels[~anew]).all()
    assert (painted[anew] != pixels[anew]).any()
    expected = engine.generate("a dog", image=pixels, mask=anew, **QUICK)
    assert result.image.tobytes() == expected.image.tobytes()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"factors": ["depth"]}, "must map factors to their options"),
        ({"factors": {"depth": None}}, "no condition factor of this bundle; it has segmentation"),
        ({"factors": {"segmentation": 3}}, "a dictionary of options, or None"),
        ({"factors": {"segmentation": {"steps": 3}}}, "has no option 'steps'; it has prompt"),
        ({"factors": {"segmentation": {"candidates": 1.5}}}, r"segmentation'\] candidates must be"),
        ({"factors": {"segmentation": {"map": np.zeros((3, 3), np.uint8)}}}, "3 x 3 pixels"),
        ({"factors": {"segmentation": {"map": np.zeros((3, 3), float)}}}, "map must be a PIL"),
        ({"joint": "segmentation"}, "joint must be a list of factors"),
        ({"joint_refresh": 1.5}, "joint_refresh must be a whole number"),
        ({"joint": ["segmentation", "image"], "num_inference_steps": 4}, "give the same number"),
        ({"image": np.zeros((0, 0, 3), np.uint8)}, r"empty one of shape \(0, 0, 3\)"),
        ({"mask": np.zeros((0, 0), bool)}, "mask must be .* an empty one"),
        ({"latents": np.zeros((0, 4, 8, 8))}, "latents must be .* an empty one"),
        ({"factors": {"segmentation": {"map": np.zeros((0, 0), np.uint8)}}}, "an empty one"),
        ({"mask": np.ones((4, 4), bool)}, "no image whose pixels"),
        ({"image": "a.png"}, "image must be a PIL picture"),
        ({"strength": "much"}, "strength must be a number"),
    ],
)
def test_wrong_options_are_named(engine: Engine, options: dict[str, Any], message: str) -> None:
    with pytest.raises(RequestError, match=message):
        engine.submit("a dog", **options)


def test_what_the_text_encoder_does_not_read_of_a_factors_own_prompts_is_told(
    engine: Engine,
) -> None:
    own: FactorOptions = {"prompt": "a dog " * 60, "negative_prompt": "blurry " * 90}
    result = engine.generate("a dog", factors={"segmentation": own}, **QUICK)
    assert (result.truncated, result.negative_truncated) == ("", "")
    factor = result.factors["segmentation"]
    assert factor.truncated.endswith("a dog ")
    assert factor.negative_truncated.endswith("blurry ")


def test_a_label_that_the_palette_lacks_is_refused_at_once(engine: Engine) -> None:
    labels = np.full(_size(engine), 254, np.uint8)
    with pytest.raises(RequestError, match="254"):
        engine.submit("a dog", factors={"segmentation": {"map": labels}})
