"""The report says what was measured and only that; figures come from results that exist."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import report
from benchmarks.targets import TARGETS, Standing, Target

_MACHINE = {"cores": 2, "processor": "some processor", "commit": "0123456789", "time": "2026"}


def test_a_target_stands_where_its_figure_is() -> None:
    at_most = Target("time", ("a", "b"), at_most=0.85)
    assert at_most.standing({"a": {"b": 0.85}}) == Standing(0.85, True)
    assert at_most.standing({"a": {"b": 0.86}}) == Standing(0.86, False)
    at_least = Target("speed", ("a",), at_least=4)
    assert at_least.standing({"a": 3.9}).reached is False
    assert at_least.standing({"a": 4}).reached is True


@pytest.mark.parametrize("results", [None, {}, {"a": None}, {"a": {"b": None}}, {"a": 3}])
def test_what_was_not_measured_is_neither_reached_nor_missed(results: dict[str, object]) -> None:
    assert Target("time", ("a", "b"), at_most=1).standing(results) == Standing(None, None)


def test_a_target_has_one_bound() -> None:
    with pytest.raises(ValueError, match="either"):
        Target("time", ("a",))
    assert Target("rows", ("a",), at_least=0.35, percent=True).bound == "≥ 35.00 %"


def test_every_benchmark_has_rows_and_nothing_is_reached_unmeasured() -> None:
    rows = report.target_rows({})
    assert {row[0] for row in rows} == set(TARGETS)
    assert {row[4] for row in rows} == {"not measured"}


def test_the_table_of_a_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    results = {"machine": _MACHINE, "fgdm": {"core_share": 0.03, "runtime": "cpu fp32"}}
    (tmp_path / "generate.json").write_text(json.dumps(results))
    assert report.main([str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    row = next(line for line in lines if "outside the sessions" in line and "generate" in line)
    assert row.endswith("missed")
    assert "3.00 %" in row
    assert any("commit 01234567" in line for line in lines)


def test_figures_are_drawn_for_what_was_measured(tmp_path: Path) -> None:
    point = {"seconds": 1.0, "peak_mb": 100.0}
    line = {"slope": 1.0, "intercept": 0.0, "r_squared": 1.0}
    scaling = {
        "machine": _MACHINE,
        "candidates": {
            "title": "maps",
            "points": {"1": point, "2": point},
            "time": line,
            "memory": line,
        },
    }
    (tmp_path / "scaling.json").write_text(json.dumps(scaling))
    figures = tmp_path / "figures"
    assert report.main([str(tmp_path), "--figures", str(figures)]) == 0
    assert [path.name for path in figures.iterdir()] == ["scaling.svg"]
    drawn = (figures / "scaling.svg").read_bytes()
    assert 1000 < len(drawn) < 50_000
    report.main([str(tmp_path), "--figures", str(figures)])
    assert (figures / "scaling.svg").read_bytes() == drawn, "the same results, the same file"


@pytest.mark.parametrize(
    "command", [["benchmarks.report"], ["gpu.roofline", "--copies=3", "--products=790"]]
)
def test_what_measures_nothing_needs_no_torch(command: list[str]) -> None:
    """A table of results, and what a card could reach, on a machine that only reads them."""
    program = (
        "import runpy, sys\n"
        "for name in ('torch', 'diffusers', 'transformers', 'matplotlib'):\n"
        "    sys.modules[name] = None\n"
        "sys.argv = sys.argv[1:]\n"
        "runpy.run_module(sys.argv[0], run_name='__main__')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, *command],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "") and done.stdout
