"""Protects the command: what its arguments become, what it prints, what it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from fgdm import exits
from fgdm.cli import command
from fgdm.evaluate.dataset import cli as dataset_cli
from fgdm.evaluate.dataset.formats import FORMATS
from fgdm.evaluate.dataset.making import Setup
from fgdm.evaluate.dataset.run import Outcome

from tests.evaluate.dataset.conftest import SCENES

Calls = list[tuple[Setup, dict[str, Any]]]


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Calls:
    """What would be made, without an engine."""
    seen: Calls = []

    def record(setup: Setup, folder: Path, count: int, **options: Any) -> Outcome:
        seen.append((setup, {"folder": folder, "count": count, **options}))
        return Outcome(1, 4, 1, 2.0)

    monkeypatch.setattr(dataset_cli, "make_dataset", record)
    monkeypatch.setattr(dataset_cli, "write_balance", lambda folder: [folder / "balance.json"])
    return seen


def main(*arguments: str, output: str = "data") -> int:
    return command.main(["dataset", str(SCENES), "--output", output, "--count", "5", *arguments])


def test_arguments_become_a_recipe(calls: Calls, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--template", "{count} {thing}", "--template", "a {thing}", "--things", "dog,cat"]
    arguments += ["--with", "depth,pose", "--candidates", "4", "--seed", "9", "--attempts", "3"]
    arguments += ["--min-recall", "0.5", "--min-compliance", "1", "--min-agreement", "0.25"]
    arguments += ["--segmenter", "os:getcwd", "--in-flight", "300"]
    arguments += ["--options", '{"select": "compliance"}', "--backend", "cpu"]
    assert main(*arguments) == 0
    ((setup, options),) = calls
    identity = setup.recipe.identity()
    assert identity == {
        "seed": 9,
        "source": {
            "kind": "templates",
            "rules": {"prompt": ["{count} {thing}", "a {thing}"]},
            "things": ["dog", "cat"],
        },
        "optional": ["depth", "pose"],
        "options": {"select": "compliance", "candidates": 4},
        "accepted": {"recall": 0.5, "compliance": 1.0, "agreement": 0.25},
        "attempts": 3,
        "segmenter": "os:getcwd",
    }
    assert setup.engine["backend"] == "cpu" and setup.engine["max_queue"] > 300
    assert options["count"] == 5 and options["in_flight"] == 300
    assert "3 samples made and 1 rejected in 2.0 s, 2.00 a second; 1 were there" in (
        capsys.readouterr().out
    )


def test_the_engine_gets_all_machine_options(calls: Calls) -> None:
    arguments = [
        "--prompts",
        str(SCENES.parents[1] / "benchmarks/prompts.json"),
        "--backend",
        "cpu",
    ]
    assert main(*arguments, "--memory", "low", "--attention-op", "kernel", "--contexts", "off") == 0
    ((setup, _),) = calls
    told = {"memory": "low", "attention": "kernel", "contexts": "off", "device": 0}
    assert told.items() <= setup.engine.items() and setup.engine["policy"] == "throughput"


def test_json_and_quiet(calls: Calls, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "prompts.txt").write_text("a dog\na cat\n", encoding="utf-8")
    assert main("--prompts", str(tmp_path / "prompts.txt"), "--json", "--quiet") == 0
    printed = capsys.readouterr()
    told = json.loads(printed.out)
    assert told["made"] == 4 and told["written"] == ["data/balance.json"]
    assert printed.err == ""
    ((setup, _),) = calls
    assert [setup.recipe.source.prompt(0, i).text for i in range(3)] == ["a dog", "a cat", "a dog"]


def test_formats_are_written_after_the_samples(
    calls: Calls, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(
        FORMATS, "coco", lambda folder: [folder / "coco", *map(Path, "x" * len(calls))]
    )
    assert main("--world", "--format", "coco", "--json") == 0
    assert json.loads(capsys.readouterr().out)["written"] == ["data/balance.json", "data/coco", "x"]


def test_a_cluster_gets_as_many_engines_as_workers(calls: Calls) -> None:
    pytest.importorskip("ray", reason="Ray isn't installed: pip install '.[cluster]'")
    arguments = ["--ray", "auto", "--workers", "3", "--gpus", "0.5", "--threads", "2"]
    assert main("--world", "--quiet", *arguments) == 0
    ((setup, options),) = calls
    crew = options["crew"](setup)
    assert (crew._place.engines, crew._place.cpus, crew._place.gpus) == (3, 2, 0.5)
    assert crew._address == "auto" and setup.engine["threads"] == 2


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--template", "a {dog}"], "slot {dog}"),
        (["--world", "--things", "dog"], "--things is of --template and --grammar"),
        (["--world", "--min-recall", "2"], "the least recall is 2.0"),
        (["--world", "--min-agreement", "0.5"], "needs a segmenter"),
        (["--world", "--options", '{"seed": 1}'], "can't have seed"),
        (["--prompts", "none"], "can't read the prompts in none"),
        (["--world", "--format", "voc"], "no format 'voc'"),
        (["--world", "--gpus", "1"], "--gpus is of the workers of --ray"),
    ],
)
def test_what_is_refused(
    arguments: list[str], words: str, calls: Calls, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(*arguments) == exits.REQUEST
    assert words in capsys.readouterr().err and not calls


@pytest.mark.parametrize("arguments", [[], ["--world", "--prompts", "x"], ["--options", "[]"]])
def test_wrong_usage(arguments: list[str], calls: Calls) -> None:
    with pytest.raises(SystemExit) as ended:
        main(*arguments)
    assert ended.value.code == exits.REQUEST and not calls
