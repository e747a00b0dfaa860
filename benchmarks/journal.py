"""What a long benchmark has measured so far: a run that is started again goes on from there."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any


class Journal:
    """What was measured with the same settings, by number, in a file of lines.

    Other settings' lines stay in the file and aren't seen. A line that a kill tore is none.
    """

    def __init__(self, path: Path | None, settings: Mapping[str, Any]) -> None:
        self._path, self._settings = path, json.dumps(settings, sort_keys=True)
        self._done: dict[int, dict[str, Any]] = {}
        if path is None or not path.exists():
            return
        lines = path.read_text().splitlines(keepends=True)
        if lines and not lines[-1].endswith("\n"):
            path.write_text("".join(lines[:-1]))
        entry: dict[str, Any]
        for line in lines:
            entry = json.loads(line) if line.endswith("\n") else {}
            if entry.get("settings") == self._settings:
                self._done[entry["index"]] = entry["measured"]

    @classmethod
    def beside(cls, output: Path | None, settings: Mapping[str, Any]) -> Journal:
        """In a file beside the results' (.jsonl); without results' file, in none."""
        return cls(output and output.with_suffix(".jsonl"), settings)

    def get(self, index: int) -> dict[str, Any] | None:
        return self._done.get(index)

    def add(self, index: int, measured: dict[str, Any]) -> None:
        self._done[index] = measured
        if self._path is not None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            entry = {"settings": self._settings, "index": index, "measured": measured}
            with self._path.open("a") as file:
                file.write(json.dumps(entry) + "\n")
