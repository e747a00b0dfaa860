"""The comparison of openings is of the same pictures, and refuses to compare anything else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from benchmarks import contexts


def opening(**changes: Any) -> dict[str, Any]:
    found = {"open_seconds": 1.0, "open_processor_seconds": 2.0, "first_seconds": 0.5}
    return {
        **found,
        "peak_mb": 100.0,
        "notes": [],
        "runtime": "a runtime",
        "picture": "p",
        **changes,
    }


def test_ways_take_turns_and_medians_are_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seen: list[str] = []
    seconds = iter([6.0, 7.0, 2.0, 8.0, 9.0, 1.0, 7.0, 8.0, 3.0])

    def open_once(bundle: Path, options: dict[str, Any]) -> dict[str, Any]:
        seen.append(options["contexts"])
        if options["contexts"] != "off":
            (Path(options["contexts"]) / f"{len(seen)}").write_bytes(b"x" * 500_000)
        return opening(open_seconds=next(seconds))

    monkeypatch.setattr(contexts, "open_once", open_once)
    results = contexts.compare(Path("bundle"), {"backend": "openvino"}, 3)
    assert [results["ways"][way]["open_seconds"] for way in contexts.WAYS] == [7.0, 8.0, 2.0]
    assert results["bytes"] == 1_000_000
    assert seen[0] == seen[3] == "off" and seen[1] == seen[2] != seen[4]
    contexts.show(results)
    assert "a runtime; contexts of 1 MB" in capsys.readouterr().out


def test_other_pictures_are_no_comparison(monkeypatch: pytest.MonkeyPatch) -> None:
    pictures = iter(["p", "p", "q"])
    monkeypatch.setattr(contexts, "open_once", lambda *_: opening(picture=next(pictures)))
    with pytest.raises(SystemExit, match="pictures differ"):
        contexts.compare(Path("bundle"), {}, 1)
