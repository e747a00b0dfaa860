"""``memory="low"``: the same pictures from fewer graphs in memory at a time."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from fgdm import Engine, RequestError
from fgdm.cli.command import main
from fgdm.statistics import psnr

SCENES = Path(__file__).parents[2] / "bundles" / "scenes"
PROMPT = "a dog beside a house"
OPTIONS: dict[str, Any] = {
    "seed": 3,
    "candidates": 2,
    "condition_steps": 2,
    "num_inference_steps": 2,
}

#: Opens a bundle, makes a picture, and prints what the process held in memory that is of no file,
#: in MB beyond what it held before: once open, and in the steps.
_MEASURE = """
import json, sys
from pathlib import Path
from fgdm import Engine
def held():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("RssAnon:"))
bundle, memory, prompt, options = sys.argv[1:]
before = held()
with Engine(bundle, backend="cpu", threads=1, memory=memory) as engine:
    opened = held() - before
    steps = []
    watch = lambda step: steps.append(held() - before)
    engine.generate(prompt, step_callback=watch, **json.loads(options))
print(json.dumps({"opened": opened, "steps": max(steps)}))
"""


def held(memory: str) -> dict[str, float]:
    command = [sys.executable, "-c", _MEASURE, str(SCENES), memory, PROMPT, json.dumps(OPTIONS)]
    found: dict[str, float] = json.loads(subprocess.check_output(command, text=True))
    return found


def test_low_memory_holds_less_and_none_before_a_request() -> None:
    full, low = held("full"), held("low")
    assert low["opened"] < full["opened"] / 2
    assert low["steps"] < full["steps"] - 15


def test_pictures_are_the_same_and_so_are_those_that_follow() -> None:
    # Products with weights that aren't packed for the processor round otherwise.
    with (
        Engine(SCENES, backend="cpu", threads=1) as full,
        Engine(SCENES, backend="cpu", threads=1, memory="low") as low,
    ):
        for seed in (3, 4):
            options = {**OPTIONS, "seed": seed}
            expected, found = full.generate(PROMPT, **options), low.generate(PROMPT, **options)
            assert psnr(found.image, expected.image) >= 60
            assert [c.recall for c in found.candidates] == [c.recall for c in expected.candidates]


@pytest.mark.nightly
def test_requests_of_other_factors_go_beside_each_other() -> None:
    """Graphs that take turns are loaded again, whatever the order of the batches."""
    with (
        Engine(SCENES, backend="cpu", threads=1) as full,
        Engine(SCENES, backend="cpu", threads=1, memory="low") as low,
    ):
        options = [OPTIONS, {**OPTIONS, "factors": {"depth": {}}}]
        expected = [full.generate(PROMPT, **each) for each in options]
        jobs = [low.submit(PROMPT, **each) for each in options]
        for job, one in zip(jobs, expected, strict=True):
            assert psnr(job.result().image, one.image) >= 60


def test_a_word_that_is_none_of_the_two_is_refused() -> None:
    with pytest.raises(RequestError, match='memory is "tiny", expected "full" or "low"'):
        Engine(SCENES, backend="cpu", memory="tiny")
    with pytest.raises(RequestError, match='memory "low" is for backend "cpu"'):
        Engine(SCENES, backend="cuda", memory="low")


def test_commands_take_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["generate", "a dog", "--bundle", str(SCENES), "--output", str(tmp_path / "out")]
    assert main([*command, "--memory", "tiny"]) == 2
    assert 'memory is "tiny"' in capsys.readouterr().err
