"""Draws the loss curves of a training run."""

from __future__ import annotations

import json
from pathlib import Path

from matplotlib.figure import Figure


def draw_curves(work: Path, output: Path) -> None:
    """One panel per ``<stage>.jsonl`` in `work`, every logged value against the step, as a PNG."""
    logs = sorted(work.glob("*.jsonl"))
    if not logs:
        return
    figure = Figure(figsize=(3.6 * len(logs), 3), layout="constrained")
    axes = figure.subplots(1, len(logs), squeeze=False)
    for axis, log in zip(axes[0], logs, strict=True):
        entries = [json.loads(line) for line in log.read_text().splitlines()]
        for name in sorted({key for entry in entries for key in entry} - {"step", "seconds"}):
            points = [(entry["step"], entry[name]) for entry in entries if name in entry]
            axis.plot(*zip(*points, strict=True), label=name, linewidth=1.2)
        axis.set_title(log.stem)
        axis.set_xlabel("step")
        axis.set_yscale("log")
        axis.legend(fontsize=7)
    figure.savefig(output, dpi=110)
