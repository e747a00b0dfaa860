"""Things are counted by their area on the map, and looked for in the picture."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.paintable import EDGES, Thing, by_area, main


def test_shares_by_hand() -> None:
    things = [Thing(0.0, False), Thing(0.005, True), Thing(0.0055, False), Thing(0.5, True)]
    table = {row["from"]: (row["things"], row["painted"]) for row in by_area(things)}
    assert table.pop(0.0) == (1, 0.0)
    assert table.pop(0.004) == (2, 0.5)
    assert table.pop(0.04) == (1, 1.0)
    assert set(table.values()) == {(0, None)}


def test_a_bundle_is_looked_at(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "paintable.json"
    assert main(["--every", "67", "--threads", "1", "--output", str(output)]) == 0
    told = json.loads(output.read_text())
    assert told["prompts"] == 3 and len(told["by_area"]) == len(EDGES) - 1
    count = sum(row["things"] for row in told["by_area"])
    assert f"3 prompts, {count} things" in capsys.readouterr().out and count >= 3
