"""Protects the JSON form of a result: what other programs read."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib import resources
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from fgdm.requirements import Requirement
from fgdm.result import EngineInfo, Result
from jsonschema import Draft202012Validator

SCHEMA = json.loads((resources.files("fgdm") / "result.schema.json").read_text(encoding="utf-8"))


def errors_of(document: object) -> list[str]:
    return [error.message for error in Draft202012Validator(SCHEMA).iter_errors(document)]


def test_schema_is_a_valid_draft_2020_12_schema() -> None:
    Draft202012Validator.check_schema(SCHEMA)


def test_json_form_survives_dumps_and_meets_the_schema(make_result: Callable[..., Result]) -> None:
    document = json.loads(json.dumps(make_result().to_json(), allow_nan=False))
    assert errors_of(document) == []
    assert document["chosen"] == 1
    assert document["candidates"][0]["missing"] == ["house", "tree"]
    assert document["candidates"][0]["seed"] == 2**64 - 1
    assert document["image"] == {"width": 128, "height": 128}
    assert document["parameters"]["candidates"] == 3
    assert document["parameters"]["latents"] == {"shape": [1, 4, 8, 8], "dtype": "float32"}


def test_nothing_requested_meets_the_schema(make_result: Callable[..., Result]) -> None:
    result = make_result(found=[()], requested=(), unrecognized=["dragon"])
    assert errors_of(result.to_json()) == []


@pytest.mark.parametrize(
    ("key", "value"),
    [("recall", 1.5), ("seed", -1), ("candidates", None), ("surprise", 1), ("chosen", "first")],
)
def test_schema_refuses_what_no_result_says(
    make_result: Callable[..., Result], key: str, value: object
) -> None:
    assert errors_of({**make_result().to_json(), key: value})


def test_from_core_takes_every_field_over() -> None:
    rng = np.random.default_rng(0)
    core_map = rng.integers(0, 256, (6, 8, 3), np.uint8)
    labels = rng.integers(0, 3, (6, 8), np.uint8)
    common: dict[str, Any] = {
        "map": core_map,
        "labels": labels,
        "recall": 0.5,
        "found": ["dog"],
        "missing": ["tree"],
        "seed": 9,
        "met": [True, None],
        "compliance": 1.0,
        "refused": "cat",
    }
    candidates = [
        SimpleNamespace(**common, index=0, smallest_area=0.1, steps=4, pruned=False, failed=False)
    ]
    factor = SimpleNamespace(
        candidates=candidates,
        chosen=0,
        given=True,
        requested=["dog", "tree"],
        excluded=["cat"],
        unknown_pixels=3,
        truncated=" and a ship",
        negative_truncated=" and ice",
        timings={"backbone": 0.5},
        requirements=[("count", "2 dog"), ("color", "red dog")],
        not_understood=["near it"],
    )
    core = SimpleNamespace(
        seed=9,
        image=rng.integers(0, 256, (12, 16, 3), np.uint8),
        image_on_device=None,
        latents_on_device=None,
        requested=["dog", "tree"],
        excluded=["cat"],
        unread=["boat"],
        requirements=[("count", "2 dog"), ("color", "red dog")],
        not_understood=["near it"],
        unrecognized=["dragon"],
        unrecognized_omitted=2,
        truncated=" and a boat",
        negative_truncated="",
        chosen=0,
        map_rows=8,
        candidates=candidates,
        factors={"segmentation": factor},
        timings={"total": 1.0},
        parameters={"sampler": "ddim"},
    )
    info = EngineInfo("0.1.0", "scenes", "cpu", "fp32", "onnxruntime 1.31.1")
    result = Result.from_core(cast(Any, core), "a dog", info, {"dog": (1, 2, 3)}, ["segmentation"])
    assert (np.asarray(result.image) == core.image).all()
    assert (np.asarray(result.candidates[0].map) == core_map).all()
    assert (result.labels == labels).all()
    assert result.map.size == (8, 6)
    assert result.found == ("dog",) and result.missing == ("tree",)
    made = result.factors["segmentation"]
    assert (made.labels == labels).all() and made.map.size == (8, 6) and made.recall == 0.5
    assert made.given and made.unknown_pixels == 3 and made.truncated == " and a ship"
    assert made.negative_truncated == " and ice"
    assert made.requested == ("dog", "tree") and made.excluded == ("cat",)
    assert made.timings == {"backbone": 0.5}
    for one in (made, result):
        assert one.requirements == (Requirement("count", "2 dog"), Requirement("color", "red dog"))
        assert one.not_understood == ("near it",)
    assert result.met == (True, None) and result.compliance == 1.0 and result.unmet == ()
    assert result.candidates[0].refused == "cat"
    assert errors_of(result.to_json()) == []
