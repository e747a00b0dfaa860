"""Protects requirements in Python: their way into the core, the choice by them, filters."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import fgdm
import numpy as np
import pytest
from fgdm import CancelledError, Candidate, Engine, RequestError, check_map
from fgdm.compliance import number_instances
from fgdm.requirements import Requirements

BUNDLE = Path(__file__).parents[2] / "bundles" / "scenes"
PALETTE = BUNDLE / "palette.json"
PROMPT = "two dogs to the left of a red house, no people, near a unicorn"
QUICK: dict[str, Any] = {
    "candidates": 4,
    "condition_steps": 3,
    "num_inference_steps": 1,
    "seed": 5,
}


@pytest.fixture(scope="module")
def engine() -> Any:
    with Engine(BUNDLE, threads=1) as opened:
        yield opened


def index(name: str) -> int:
    classes = json.loads(PALETTE.read_text())["classes"]
    return next(i for i, entry in enumerate(classes) if entry["name"] == name)


def two_dogs() -> Any:
    labels = np.full((64, 64), 255, np.uint8)
    labels[30:40, 4:12] = labels[30:40, 16:24] = index("dog")
    labels[20:45, 35:60] = index("house")
    return labels


def test_pixels_know_their_instance() -> None:
    numbers = number_instances(two_dogs())
    assert numbers.dtype == np.uint32 and numbers.shape == (64, 64)
    assert (numbers[20, 35], numbers[30, 4], numbers[30, 16], numbers[0, 0]) == (1, 2, 3, 0)
    assert [int((numbers == n).sum()) for n in range(1, 4)] == [625, 80, 80]
    assert number_instances(two_dogs(), min_area=0.1).max() == 1
    assert number_instances(two_dogs()[:, ::-1]).max() == 3, "of any layout"
    assert number_instances(two_dogs(), opening=4).max() == 1, "the dogs are eight pixels wide"
    with pytest.raises(RequestError, match="opening"):
        number_instances(two_dogs(), opening=65)
    with pytest.raises(RequestError, match="labels must be a uint8 array"):
        number_instances(two_dogs().astype(np.int64))


def test_a_map_is_checked_without_an_engine() -> None:
    required: Requirements = {
        "objects": [{"class": "puppy", "count": 2}, {"class": "house", "color": "red"}],
        "relations": [{"subject": "dog", "relation": "left of", "object": "house"}],
        "absent": ["person"],
    }
    found = check_map(two_dogs(), required, PALETTE)
    assert [one.text for one in found.requirements] == [
        *("dog", "house", "2 dog", "2 dog left of house", "no person", "red house")
    ]
    assert found.met == (True, True, True, True, True, None)
    assert found.joint
    assert found.presence == found.counts == found.relations == found.absences == 1.0
    turned = check_map(two_dogs()[:, ::-1], required, json.loads(PALETTE.read_text()))
    assert turned.relations == 0.0
    assert turned.unmet == ("2 dog left of house",)
    assert not turned.joint


def test_wrong_arguments_of_check_map_are_refused() -> None:
    for labels in (np.zeros((4, 4)), np.zeros(4, np.uint8), [[0]]):
        with pytest.raises(RequestError, match="labels must be a uint8 array"):
            check_map(labels, {}, PALETTE)  # type: ignore[arg-type]
    with pytest.raises(RequestError, match="opening"):
        check_map(two_dogs(), {}, PALETTE, opening=65)
    with pytest.raises(RequestError, match="dictionary"):
        check_map(two_dogs(), ["dog"], PALETTE)  # type: ignore[arg-type]


def test_a_prompt_is_read(engine: Engine) -> None:
    found = engine.find_requirements(PROMPT)
    assert found.requirements == {
        "objects": [
            {"class": "dog", "count": 2},
            "house",
            {"class": "house", "color": "red"},
        ],
        "relations": [{"subject": "dog", "relation": "left of", "object": "house"}],
        "absent": ["person"],
    }
    one = engine.find_requirements("a dog", articles_count=True).requirements["objects"]
    assert one == [{"class": "dog", "count": 1}]


def test_every_candidate_says_what_it_meets(engine: Engine) -> None:
    result = engine.generate(PROMPT, select="compliance", stop_at_compliance=0.0, **QUICK)
    required = engine.find_requirements(PROMPT).requirements
    assert [one.kind for one in result.requirements] == [
        *("present", "present", "count", "relation", "absent", "color")
    ]
    for candidate in result.candidates:
        least = engine.manifest["factors"][0]["min_area"]
        alone = check_map(candidate.labels, required, PALETTE, min_area=least)
        assert candidate.met == alone.met
        assert candidate.compliance == alone.compliance
    best = max(result.candidates, key=lambda c: (c.recall, c.compliance, c.smallest_area, -c.index))
    assert result.chosen == best.index
    assert result.compliance == best.compliance
    assert set(result.unmet) == {
        one.text for one, met in zip(result.requirements, best.met, strict=True) if met is False
    }
    assert result.parameters["select"] == "compliance"


def test_choosing_by_recall_stays_as_it_was(engine: Engine) -> None:
    default = engine.generate(PROMPT, **QUICK)
    said = engine.generate(PROMPT, select="recall", **QUICK)
    assert np.array_equal(np.asarray(default.image), np.asarray(said.image))
    kept = max(default.candidates, key=lambda c: (c.recall, c.smallest_area, -c.index))
    assert default.chosen == kept.index


def test_stopping_at_compliance_finishes_fewer_maps(engine: Engine) -> None:
    options = {**QUICK, "candidates": 6, "wave": 1, "condition_steps": 6}
    required: Any = {"objects": ["house"], "absent": ["bus"]}
    result = engine.generate(
        "a house", select="compliance", stop_at_compliance=1.0, requirements=required, **options
    )
    assert result.compliance == 1.0
    assert len(result.candidates) < 6
    assert result.parameters["requirements"] == required


def test_refused_maps_are_not_painted(engine: Engine) -> None:
    free = engine.generate("a dog on the grass", stop_at_recall=0.0, **QUICK)
    names = [entry["name"] for entry in json.loads(PALETTE.read_text())["classes"]]
    most = {
        names[int(np.bincount(c.labels.ravel(), minlength=255)[:255].argmax())]
        for c in free.candidates
    }  # of every map, what covers most of it
    with pytest.raises(RequestError, match=r"every finished map .* holds what must not be painted"):
        engine.generate("a dog on the grass", stop_at_recall=0.0, forbid=sorted(most), **QUICK)
    area = sorted((c.labels == index("dog")).mean() for c in free.candidates)[-1]
    least = float(area) * 0.999
    assert least > 0
    result = engine.generate(
        "a dog on the grass",
        stop_at_recall=0.0,
        forbid=[{"classes": ["dog"], "min_area": least}],
        **QUICK,
    )
    refused = [c for c in result.candidates if c.refused]
    assert refused
    assert all(c.refused == "dog" for c in refused)
    assert not result.candidates[result.chosen].refused


@pytest.mark.parametrize(
    "filters",
    [
        [{"classes": ["dog"], "min_area": 0.9}],  # a small one may be there
        [{"classes": ["dog", "sun"]}],
        ["sun"],
    ],
)
def test_what_is_required_and_forbidden_otherwise_is_no_contradiction(
    engine: Engine, filters: list[Any]
) -> None:
    result = engine.generate("a dog", objects=["dog"], forbid=filters, **QUICK)
    assert not result.candidates[result.chosen].refused


def test_only_finished_maps_say_why_nothing_is_painted(engine: Engine) -> None:
    """What a map that was dropped was about to hold is no reason."""
    options = {**QUICK, "candidates": 4, "condition_steps": 4, "prune": [1]}
    names = [entry["name"] for entry in json.loads(PALETTE.read_text())["classes"]]
    free = engine.generate("a dog on the grass", stop_at_recall=0.0, **options)
    finished = [c.labels for c in free.candidates if not c.pruned]
    assert 0 < len(finished) < 4
    held = {names[label] for labels in finished for label in np.unique(labels) if label < 255}
    with pytest.raises(RequestError, match="every finished map") as caught:
        engine.generate("a dog on the grass", stop_at_recall=0.0, forbid=names, **options)
    told = str(caught.value).partition("painted: ")[2].partition(";")[0].split(", ")
    assert set(told) <= held


def test_a_filter_of_ones_own_stops_before_the_image(engine: Engine) -> None:
    """As docs/compliance.md has it."""
    steps: list[str] = []
    with pytest.raises(CancelledError, match="map callback stopped the request"):
        engine.generate(
            "a dog on the grass",
            map_callback=lambda info: info.chosen and info.candidate.labels.size > 0,
            step_callback=lambda info: steps.append(info.factor),
            **QUICK,
        )
    assert set(steps) == {"segmentation"}


def test_an_engines_filters_hold_for_every_request() -> None:
    with Engine(BUNDLE, threads=1, forbid=["dog"]) as strict:
        with pytest.raises(RequestError, match="holds dog"):
            strict.generate("a dog", factors={"segmentation": {"map": two_dogs()}}, seed=1)
        with pytest.raises(RequestError, match="every request needs a map"):
            strict.generate("a dog", factors={"segmentation": None})
        with pytest.raises(RequestError, match="holds dog"):
            strict.generate(
                "a dog", min_area=1.0, factors={"segmentation": {"map": two_dogs()}}, seed=1
            )
    with pytest.raises(RequestError, match="unicorn"):
        Engine(BUNDLE, threads=1, forbid=["unicorn"])


def test_a_function_chooses_among_finished_maps(engine: Engine) -> None:
    """By the place of one, or by a number for each; it sees what recall would go by."""
    seen: list[list[Candidate]] = []

    def last(maps: list[Candidate]) -> int:
        seen.append(maps)
        return len(maps) - 1

    result = engine.generate("a dog on the grass", select=last, **QUICK)
    (maps,) = seen
    assert [one.index for one in maps] == [0, 1, 2, 3], "none stops the others early"
    assert result.chosen == 3
    assert result.parameters["select"] == "callable"
    for one, told in zip(maps, result.candidates, strict=True):
        assert (one.recall, one.compliance, one.met) == (told.recall, told.compliance, told.met)
        np.testing.assert_array_equal(one.labels, told.labels)
    wide = engine.generate(
        "a dog on the grass", select=lambda maps: [-one.labels.mean() for one in maps], **QUICK
    )
    assert wide.chosen == int(np.argmin([one.labels.mean() for one in wide.candidates]))
    scores = np.array([1, 7, 7, 0])
    assert engine.generate("a dog", select=lambda _: scores, **QUICK).chosen == 1, "the first"
    pruned = engine.generate("a dog on the grass", select=lambda _: 0, prune=[1], **QUICK)
    assert not pruned.candidates[pruned.chosen].pruned


def test_a_function_does_not_see_refused_maps(engine: Engine) -> None:
    free = engine.generate("a dog on the grass", stop_at_recall=0.0, **QUICK)
    area = max((one.labels == index("dog")).mean() for one in free.candidates) * 0.999
    counts: list[int] = []

    def first(maps: list[Candidate]) -> int:
        counts.append(len(maps))
        return 0

    engine.generate(
        "a dog on the grass",
        select=first,
        forbid=[{"classes": ["dog"], "min_area": float(area)}],
        **QUICK,
    )
    assert 0 < counts[0] < 4


@pytest.mark.parametrize(
    ("answer", "error", "message"),
    [
        (lambda maps: 1 / 0, ZeroDivisionError, "division"),
        (len, RequestError, "expected the place of one, 0 to 3"),
        (lambda maps: -1, RequestError, "expected the place of one"),
        (lambda maps: [1.0], RequestError, "a list of 4 numbers"),
        (lambda maps: [float("nan")] * 4, RequestError, "a list of 4 numbers"),
        (lambda maps: "1", RequestError, "select answered '1'"),
        (lambda maps: None, RequestError, "select answered None"),
        (lambda maps: True, RequestError, "select answered True"),
    ],
)
def test_a_function_that_fails_ends_its_request_alone(
    engine: Engine, answer: Any, error: type[Exception], message: str
) -> None:
    bad = engine.submit("a dog", select=answer, **QUICK)
    good = engine.submit("a dog", select=lambda _: 2, **QUICK)
    with pytest.raises(error, match=message):
        bad.result()
    assert good.result().chosen == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"stop_at_compliance": 1.0}, "chosen by recall"),
        ({"select": "compliance", "stop_at_recall": 1.0}, "give stop_at_compliance"),
        ({"select": "luck"}, 'expected "recall", "compliance" or a function'),
        ({"select": "callable"}, 'expected "recall", "compliance" or a function'),
        ({"select": len, "stop_at_recall": 1.0}, "a callback chooses among all maps"),
        ({"select": len, "stop_at_compliance": 1.0}, "a callback chooses among all maps"),
        ({"select": len, "factors": {"segmentation": None}}, "no map can be checked"),
        ({"select": "compliance", "stop_at_compliance": 2.0}, "expected 0 to 1"),
        ({"requirements": {}, "objects": ["dog"]}, "both given"),
        ({"requirements": {"object": []}}, "expected objects, relations, absent"),
        ({"requirements": {"objects": [float("nan")]}}, "no JSON form"),
        ({"requirements": ["dog"]}, "must be a dictionary"),
        ({"forbid": "dog"}, "must be a list"),
        ({"forbid": ["unicorn"]}, "unicorn"),
        ({"forbid": ["dogs"], "objects": ["sun", "dog"]}, "forbid has dog, which the request requ"),
        (
            {"forbid": [{"classes": ["dog", "dog"]}], "requirements": {"objects": ["dog"]}},
            "forbid has dog, which",
        ),
        ({"articles_count": 1}, "True or False"),
        ({"instance_opening": -1}, "instance_opening"),
        ({"forbid": ["dog"], "factors": {"segmentation": None}}, "no map can be checked"),
        ({"requirements": {}, "factors": {"segmentation": None}}, "no map can be checked"),
    ],
)
def test_what_can_not_be_is_refused(engine: Engine, options: dict[str, Any], message: str) -> None:
    with pytest.raises(fgdm.RequestError, match=message):
        engine.submit("a dog", **options)
