"""Protects a long benchmark's run from losing what it has measured."""

from __future__ import annotations

from pathlib import Path

from benchmarks.journal import Journal


def test_a_run_goes_on_where_another_of_its_settings_ended(tmp_path: Path) -> None:
    output = tmp_path / "out" / "edits.json"
    Journal.beside(output, {"steps": 3}).add(5, {"mask": {"seconds": 1.0}})
    assert Journal.beside(output, {"steps": 3}).get(5) == {"mask": {"seconds": 1.0}}
    assert Journal.beside(output, {"steps": 4}).get(5) is None
    assert Journal.beside(None, {"steps": 3}).get(5) is None


def test_a_line_that_a_kill_tore_is_measured_again(tmp_path: Path) -> None:
    path = tmp_path / "edits.jsonl"
    for index in (1, 2):
        Journal(path, {}).add(index, {"seconds": 1.0})
    path.write_text(path.read_text()[:-9])
    journal = Journal(path, {})
    assert (journal.get(1), journal.get(2)) == ({"seconds": 1.0}, None)
    journal.add(2, {"seconds": 3.0})
    assert Journal(path, {}).get(2) == {"seconds": 3.0}
