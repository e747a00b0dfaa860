"""Protects a run's folder: whole pictures, nothing twice, and no mixture of different runs."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fgdm.errors import RequestError
from fgdm.evaluate.making import Part, PictureMaker, make_missing
from fgdm.evaluate.plan import Plan
from fgdm.evaluate.run_folder import RunFolder
from fgdm.evaluate.settings import Setting
from fgdm.tuning.prompts import Prompt

PROMPTS = [Prompt(f"a dog and {i} kites", ("dog", "kite")) for i in range(5)]
SETTINGS = [Setting("cfg", {"guidance": "cfg", "candidates": 2}), Setting("a/b", {"candidates": 2})]


def opened(engine: Any, path: Path, settings: Sequence[Setting] = SETTINGS) -> RunFolder:
    return RunFolder.opened(path, Plan.of(PictureMaker(engine).identity(), PROMPTS, settings, 7))


def contents(path: Path) -> dict[str, str]:
    """Hashes of all that doesn't tell the time."""
    return {
        str(file.relative_to(path)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(path.rglob("*.png"))
    }


def test_what_is_made_can_be_read_back(engine: Any, tmp_path: Path) -> None:
    run = opened(engine, tmp_path / "run")
    make_missing(PictureMaker(engine).make, run)
    assert run.is_complete()
    again = RunFolder.read(tmp_path / "run")
    assert again.plan == run.plan
    for setting in again.plan.settings:
        made = list(again.made(setting))
        assert [one.index for one in made] == [0, 1, 2, 3, 4]
        expected = engine._result(
            "a dog and 2 kites", seed=9, objects=("dog", "kite"), **setting.options
        )
        assert np.array_equal(made[2].picture(), np.asarray(expected.image))
        assert np.array_equal(made[2].labels("segmentation"), expected.labels)
        assert np.array_equal(made[2].map("segmentation"), np.asarray(expected.map))
        assert made[2].result["recall"] == expected.recall and made[2].seconds >= 0


def test_prompts_take_turns_under_settings_that_take_turns(engine: Any, tmp_path: Path) -> None:
    """The first call is the warm-up; a prompt's settings follow each other, in turning order."""
    make_missing(PictureMaker(engine).make, opened(engine, tmp_path))
    order = [("guidance" in call, call["seed"]) for call in engine.calls[1:]]
    assert order[:6] == [(True, 7), (False, 7), (False, 8), (True, 8), (True, 9), (False, 9)]


def test_a_stopped_run_goes_on_and_makes_nothing_twice(engine: Any, tmp_path: Path) -> None:
    def stop(number: int) -> None:
        if number == 5:
            raise KeyboardInterrupt

    engine.before = stop
    with pytest.raises(KeyboardInterrupt):
        make_missing(PictureMaker(engine).make, opened(engine, tmp_path / "stopped"))
    engine.before = lambda number: None
    assert sum(1 for _ in (tmp_path / "stopped").rglob("*.json")) == 1 + 4
    engine.calls.clear()
    counts = []
    run = opened(engine, tmp_path / "stopped")
    make_missing(
        PictureMaker(engine).make, run, watch=lambda done, total: counts.append((done, total))
    )
    assert len(engine.calls) == 1 + 6 and counts[-1] == (6, 6)
    make_missing(PictureMaker(engine).make, opened(engine, tmp_path / "whole"))
    assert contents(tmp_path / "stopped") == contents(tmp_path / "whole")
    engine.calls.clear()
    assert make_missing(PictureMaker(engine).make, run) == (0, 0.0, 0.0) and not engine.calls


def test_parts_together_are_the_whole(engine: Any, tmp_path: Path) -> None:
    make_missing(PictureMaker(engine).make, opened(engine, tmp_path / "whole"))
    for k in (1, 2, 3):
        run = opened(engine, tmp_path / "parts")
        assert not run.is_complete()
        make_missing(PictureMaker(engine).make, run, part=Part(k, 3), in_flight=2)
    assert run.is_complete()
    assert contents(tmp_path / "parts") == contents(tmp_path / "whole")


def test_settings_can_be_added_later(engine: Any, tmp_path: Path) -> None:
    make_missing(PictureMaker(engine).make, opened(engine, tmp_path, SETTINGS[:1]))
    engine.calls.clear()
    run = opened(engine, tmp_path, SETTINGS[1:])
    assert [setting.name for setting in run.plan.settings] == ["a/b", "cfg"]
    make_missing(PictureMaker(engine).make, run)
    assert len(engine.calls) == 1 + len(PROMPTS)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            lambda e, p: RunFolder.opened(
                p, Plan.of(PictureMaker(e).identity(), PROMPTS[1:], SETTINGS, 7)
            ),
            "other prompts",
        ),
        (
            lambda e, p: RunFolder.opened(
                p, Plan.of(PictureMaker(e).identity(), PROMPTS, SETTINGS, 8)
            ),
            "other seed",
        ),
        (
            lambda e, p: RunFolder.opened(
                p, Plan.of(PictureMaker(e).identity(), PROMPTS, [Setting("cfg", {})], 7)
            ),
            "'cfg' with other options",
        ),
        (lambda e, p: (e.manifest.update(weights="fp32"), opened(e, p)), "contents of the bundle"),
        (lambda e, p: ((p / "run.json").write_text("{"), opened(e, p)), "no folder of a run"),
        (lambda e, p: ((p / "run.json").write_text('{"schema": 99}'), opened(e, p)), "schema 99"),
    ],
)
def test_different_runs_are_not_mixed(
    engine: Any, tmp_path: Path, change: Callable[[Any, Path], object], words: str
) -> None:
    opened(engine, tmp_path)
    with pytest.raises(RequestError, match=words):
        change(engine, tmp_path)


def test_a_spoilt_record_is_named(engine: Any, tmp_path: Path) -> None:
    run = opened(engine, tmp_path)
    make_missing(PictureMaker(engine).make, run)
    (tmp_path / "cfg/000001.json").write_text("{")
    with pytest.raises(RequestError, match=r"000001\.json.*remove it, and it is made again"):
        list(run.made(SETTINGS[0]))


_KILLED = """
import sys
from pathlib import Path
sys.path.insert(0, {root!r})
from tests.evaluate.conftest import FakeEngine
from tests.evaluate.test_run_folder import opened
from fgdm.evaluate.making import PictureMaker, make_missing
engine = FakeEngine()
engine.before = lambda number: print(number, flush=True)
make_missing(PictureMaker(engine).make, opened(engine, Path(sys.argv[1])))
"""


def test_a_kill_loses_one_prompt_and_leaves_nothing_half_written(
    engine: Any, tmp_path: Path
) -> None:
    """kill -9 after some requests, three times; then to the end: as if nothing had happened."""
    program = _KILLED.format(root=str(Path(__file__).parents[2]))
    had = 0
    for last in (1, 3, 4):
        with subprocess.Popen(
            [sys.executable, "-c", program, str(tmp_path / "killed")],
            stdout=subprocess.PIPE,
            text=True,
        ) as child:
            assert child.stdout is not None
            begun = 0
            for line in child.stdout:
                begun = int(line)  # of the requests, the first of which is the warm-up
                if begun == last:
                    child.kill()
        run = opened(engine, tmp_path / "killed")
        made = [one for setting in run.plan.settings for one in run.made(setting)]
        assert had + begun - 1 <= len(made) <= had + begun
        had = len(made)
        for one in made:
            assert one.picture().shape == (128, 128, 3)
            assert one.labels("segmentation").shape == (64, 64)
    assert had >= 3
    make_missing(PictureMaker(engine).make, opened(engine, tmp_path / "killed"))
    make_missing(PictureMaker(engine).make, opened(engine, tmp_path / "whole"))
    assert contents(tmp_path / "killed") == contents(tmp_path / "whole")
