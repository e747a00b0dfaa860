"""A bundle of faces: its attributes are read, checked on every map, chosen by, and told."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fgdm import Engine, Result, check_map
from fgdm.cli import command
from fgdm.evaluate.trials import trials_of
from fgdm.export.bundle import export_bundle

from tests.conftest import shared
from tests.tiny_models import TinyCheckpoint

# Short: of words that it doesn't know the tiny tokenizer has letters only.
PROMPT = "a young man, bald, glasses, hat"
NAMES = ("skin", "eye_glasses", "hat")
TOLD = [("attribute", "young"), ("attribute", "male")]


@pytest.fixture(scope="module")
def bundle(tiny_checkpoint: TinyCheckpoint, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights that paint maps in the colours of CelebAMask."""

    def make(folder: Path) -> None:
        export_bundle(
            tiny_checkpoint.base,
            {"segmentation": tiny_checkpoint.adapter},
            tiny_checkpoint.controlnet,
            "celebamask",
            folder,
            name="faces",
        )

    return shared(tmp_path_factory, "faces", make)


@pytest.fixture(scope="module")
def engine(bundle: Path) -> Iterator[Engine]:
    with Engine(bundle) as opened:
        yield opened


def drawn(engine: Engine, *parts: str) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """A map with a row for each part, on background."""
    assert engine.palette is not None
    names = [entry["name"] for entry in engine.palette["classes"]]
    factor = engine.manifest["factors"][0]
    labels = np.zeros((factor["height"], factor["width"]), np.uint8)
    for row, name in enumerate(parts):
        labels[row] = names.index(name)
    return labels


def told(result: Result) -> dict[str, bool | None]:
    return {one.text: met for one, met in zip(result.requirements, result.met, strict=True)}


def test_a_given_map_gets_ticks_and_crosses(engine: Engine) -> None:
    labels = drawn(engine, "skin", "eye_glasses", "hair")
    result = engine.generate(PROMPT, seed=1, factors={"segmentation": {"map": labels}})
    assert told(result) == {
        "skin": True,
        "eye_glasses": True,
        "hat": False,
        "no hair": False,
        "young": None,
        "male": None,
    }
    assert result.missing == ("hat",) and result.excluded == ("hair",)
    assert (result.recall, result.compliance) == (2 / 3, 2 / 4)
    assert not result.truncated
    assert [(one.kind, one.text) for one in result.requirements][-2:] == TOLD


def test_every_sampled_map_is_checked_and_the_best_is_painted(engine: Engine) -> None:
    assert engine.palette is not None
    names = [entry["name"] for entry in engine.palette["classes"]]
    options: dict[str, Any] = {"seed": 3, "candidates": 6, "stop_at_recall": 0.0}

    def areas(result: Result) -> list[dict[str, float]]:
        """Of each candidate's map, the share of every class."""
        maps = [candidate.labels for candidate in result.candidates]
        shares = [np.bincount(one.ravel(), minlength=256) / one.size for one in maps]
        return [dict(zip(names, one.tolist(), strict=False)) for one in shares]

    # Random weights paint maps that are much alike: the least area is put where they differ most.
    seen = areas(engine.generate(PROMPT, **options))
    spread = {name: sorted(one[name] for one in seen) for name in NAMES}
    widest = max(spread.values(), key=lambda of: of[-1] - of[0])
    least = (widest[0] + widest[-1]) / 2
    result = engine.generate(PROMPT, min_area=least, **options)
    assert areas(result) == seen
    for candidate, area in zip(result.candidates, seen, strict=True):
        there = {name for name in names if area[name] >= least}
        assert set(candidate.found) == there & set(NAMES)
        assert candidate.recall == len(candidate.found) / 3
        met = [*(name in there for name in result.requested), "hair" not in there, None, None]
        assert list(candidate.met) == met
    recalls = [candidate.recall for candidate in result.candidates]
    assert len(set(recalls)) > 1, "maps that are all alike choose nothing"
    assert result.recall == max(recalls)
    for one in trials_of([result.to_json()]):
        values = recalls if one.of == "recall" else [c.compliance for c in result.candidates]
        first = next((i for i, value in enumerate(values) if value >= one.threshold), None)
        assert one.histogram == tuple(int(i == first) for i in range(6))


def test_requirements_of_a_request_name_attributes(
    bundle: Path, engine: Engine, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wanted = {"objects": ["hat"], "attributes": ["bald", "no beard"]}
    given = ["--requirements", json.dumps(wanted), "--candidates", "2", "--select", "compliance"]
    arguments = ["generate", "a portrait", "--bundle", str(bundle), "--output", str(tmp_path)]
    assert command.main([*arguments, *given]) == 0
    told = json.loads((tmp_path / "result.json").read_text())
    assert told["requirements"] == [
        {"kind": "present", "text": "hat"},
        {"kind": "absent", "text": "no hair"},
        {"kind": "attribute", "text": "no beard"},
    ]
    assert told["met"][2] is None and None not in told["met"][:2]
    assert "not checked on a map: no beard" in capsys.readouterr().out
    bald = check_map(drawn(engine, "skin", "hat"), wanted, engine.palette or {})
    assert bald.joint and bald.met == (True, True, None)
