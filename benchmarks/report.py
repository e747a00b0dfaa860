"""One table of all targets and where we stand, from the JSON that benchmarks wrote.

python -m benchmarks.report benchmarks/results --figures docs/figures
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.targets import TARGETS

_STATES = {True: "reached", False: "missed", None: "not measured"}


def read_results(folder: Path) -> dict[str, Any]:
    """The results of every benchmark that has a file there, by name."""
    paths = {name: folder / f"{name}.json" for name in TARGETS}
    return {name: json.loads(path.read_text()) for name, path in paths.items() if path.exists()}


def target_rows(results: Mapping[str, Any]) -> list[tuple[str, str, str, str, str]]:
    """Benchmark, target, bound, measured value and state of every target, measured or not."""
    rows = []
    for name, targets in TARGETS.items():
        for target in targets:
            standing = target.standing(results.get(name))
            value = "" if standing.value is None else target.shown(standing.value)
            rows.append((name, target.what, target.bound, value, _STATES[standing.reached]))
    return rows


def conditions(name: str, results: Mapping[str, Any]) -> str:
    """Under which a benchmark ran: runtime, prompts, cores, commit and time."""
    machine = results["machine"]
    runtime = results.get("runtime") or results.get("fgdm", {}).get("runtime")
    parts = [
        runtime,
        f"{results['prompts']} prompts" if "prompts" in results else None,
        f"{machine['cores']} cores of {machine['processor']}",
        f"commit {machine['commit'][:8]}",
        machine["time"],
    ]
    return f"{name}: " + ", ".join(part for part in parts if part)


def print_table(rows: Sequence[Sequence[str]]) -> None:
    """Columns as wide as their widest cell."""
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        print("  ".join(cells).rstrip())


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("results", type=Path, nargs="?", default=Path("benchmarks/results"))
    parser.add_argument("--figures", type=Path, help="folder to draw figures into")
    given = parser.parse_args(arguments)
    results = read_results(given.results)
    rows = target_rows(results)
    print_table([("benchmark", "target", "bound", "measured", "state"), *rows])
    print()
    for name, measured in results.items():
        print(conditions(name, measured))
    if given.figures is not None:
        from benchmarks.plots import draw  # noqa: PLC0415 (the table needs no matplotlib)

        for path in draw(results, given.figures):
            print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
