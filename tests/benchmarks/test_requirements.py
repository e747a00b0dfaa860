"""Protects the prompts of the requirements benchmark, and what it makes of checks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from fgdm import MapCheck, check_map
from fgdm.requirements import Requirement
from fgdm.train.world import is_held_out

from benchmarks.requirement_prompts import GRADES, RequirementPrompt, requirement_prompts
from benchmarks.requirements import choose, compare, values

PALETTE = Path(__file__).parents[2] / "bundles" / "scenes" / "palette.json"


@pytest.fixture(scope="module")
def prompts() -> list[RequirementPrompt]:
    return requirement_prompts(2)


def test_prompts_are_graded_and_held_out(prompts: list[RequirementPrompt]) -> None:
    assert [prompt.grade for prompt in prompts] == sorted(2 * list(GRADES))
    for prompt in prompts:
        named = [
            one if isinstance(one, str) else one["class"] for one in prompt.requirements["objects"]
        ]
        assert is_held_out(frozenset(named))
        counted = any(isinstance(one, dict) for one in prompt.requirements["objects"])
        assert counted == (prompt.grade != 2)
        assert bool(prompt.requirements["relations"]) == (prompt.grade > 1)
        assert bool(prompt.requirements["absent"]) == (prompt.grade == 4)
        assert check_map(prompt.labels, prompt.requirements, PALETTE).presence == 1.0


def check(relations: float, presence: float = 1.0) -> MapCheck:
    return MapCheck(
        requirements=(Requirement("present", "dog"), Requirement("relation", "dog left of cat")),
        met=(presence == 1.0, relations == 1.0),
        presence=presence,
        counts=1.0,
        relations=relations,
        absences=1.0,
        compliance=(presence + relations) / 2,
    )


def test_recall_comes_before_compliance() -> None:
    maps: Any = SimpleNamespace(
        candidates=[
            SimpleNamespace(recall=1.0, smallest_area=0.3),
            SimpleNamespace(recall=1.0, smallest_area=0.1),
            SimpleNamespace(recall=0.5, smallest_area=0.9),
        ]
    )
    checks = [check(0.0), check(1.0), check(1.0, 0.5)]
    assert choose(maps, checks, 3, "recall") == 0
    assert choose(maps, checks, 3, "compliance") == 1
    assert choose(maps, checks, 1, "compliance") == 0


def test_only_prompts_that_require_a_kind_count(prompts: list[RequirementPrompt]) -> None:
    first, second = prompts[0], prompts[-1]
    assert not first.requirements["relations"]
    found = values([first, second], [replace(check(0.0), requirements=(), met=()), check(1.0)])
    assert found == {"presence": [1.0, 1.0], "count": [], "relation": [1.0], "joint": [0.0, 1.0]}


def test_the_gain_is_paired(prompts: list[RequirementPrompt]) -> None:
    chosen = [prompts[-1]] * 4
    table = compare(
        chosen,
        {
            "recall": [check(0.0), check(1.0), check(0.0), check(0.0)],
            "compliance": [check(1.0), check(1.0), check(1.0), check(0.0)],
        },
    )
    assert "count" not in table
    assert table["relation"]["gain"]["estimate"] == 0.5
    assert table["joint"]["recall"]["estimate"] == 0.25
    assert table["joint"]["times_as_often"]["estimate"] == 3.0
    assert table["presence"]["gain"] == {"estimate": 0.0, "low": 0.0, "high": 0.0}
