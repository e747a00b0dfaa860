"""Figures of the results that exist, as small SVG files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

_SYSTEM_COLORS = {
    "base": "#888888",
    "diffusers": "#c44e52",
    "attend_and_excite": "#dd8452",
    "fgdm": "#4c72b0",
}


def draw(results: Mapping[str, Any], folder: Path) -> list[Path]:
    """Draw every benchmark that has a figure and results; the files written."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    # A fixed salt and no date: the same results give the same file.
    with mpl.rc_context({"svg.hashsalt": "fgdm", "svg.fonttype": "none", "font.size": 9}):
        for name, plot in _PLOTS.items():
            if name in results:
                path = folder / f"{name}.svg"
                figure = plot(results[name])
                figure.savefig(path, metadata={"Date": None})
                written.append(path)
    return written


def plot_compliance(results: Mapping[str, Any]) -> Figure:
    """A row a method: recall of its picture and of its map, and the seconds they took."""
    methods = list(results["methods"].values())
    figure = Figure(figsize=(7, 0.9 + 0.22 * len(methods)), layout="constrained")
    recall: Axes
    time: Axes
    recall, time = figure.subplots(1, 2, sharey=True)
    for place, method in enumerate(methods):
        color = _SYSTEM_COLORS[method["system"]]
        if "map_recall" in method:
            recall.plot(method["map_recall"]["mean"], place, "o", mfc="white", mec=color)
        recall.plot(method["picture_recall"]["mean"], place, "o", color=color)
        time.barh(place, method["seconds"]["mean"], color=color, height=0.6)
    recall.set_yticks(range(len(methods)), [method["title"] for method in methods], size=7)
    recall.invert_yaxis()
    recall.grid(axis="y", linewidth=0.3)
    recall.set_xlabel("recall of the picture (hollow: of the map)")
    time.set_xlabel("seconds a request")
    figure.suptitle(f"{results['prompts']} held-out prompts, {results['runtime']}", size=9)
    return figure


def plot_guidance(results: Mapping[str, Any]) -> Figure:
    """What each setting gains over classifier-free guidance, with 95 % intervals."""
    figure = Figure(figsize=(7, 3.6), layout="constrained")
    titles = {
        "picture_recall": "recall",
        "miou": "mIoU with the map",
        "class_accuracy": "pixel accuracy by class",
    }
    settings = {name: entry for name, entry in results["settings"].items() if name != "cfg"}
    row: Any = figure.subplots(1, len(titles), sharey=True)
    for axes, (key, title) in zip(row, titles.items(), strict=True):
        for place, entry in enumerate(settings.values()):
            gain = entry["gains"][key]
            axes.plot([gain["low"], gain["high"]], [place, place], color="#4c72b0")
            axes.plot(gain["estimate"], place, "o", color="#4c72b0", markersize=4)
        axes.axvline(0, color="#888888", linewidth=0.8)
        axes.set_title(title, size=9)
        axes.set_yticks(range(len(settings)), list(settings))
    row[0].invert_yaxis()
    row[1].set_xlabel(f"gain over classifier-free guidance, {results['prompts']} prompts")
    return figure


def plot_throughput(results: Mapping[str, Any]) -> Figure:
    """Images a second by clients, and response times by load."""
    figure = Figure(figsize=(7, 3), layout="constrained")
    closed: Axes
    opened: Axes
    closed, opened = figure.subplots(1, 2)
    clients = [int(count) for count in results["closed"]]
    closed.plot(clients, [e["images_per_second"] for e in results["closed"].values()], "o-")
    closed.set_xscale("log", base=2)
    closed.set_xticks(clients, [str(count) for count in clients])
    closed.set_ylim(bottom=0)
    closed.set_xlabel("clients (closed loop)")
    closed.set_ylabel("images a second")
    loads = [float(load) for load in results["open"]]
    for percentile in ("p50", "p95", "p99"):
        taken = [entry["seconds"][percentile] for entry in results["open"].values()]
        opened.plot(loads, taken, "o-", label=percentile)
    opened.set_xlabel("arrivals over one client's rate (open loop)")
    opened.set_ylabel("seconds to the answer")
    opened.legend()
    return figure


def plot_scaling(results: Mapping[str, Any]) -> Figure:
    """Time over what grows, with the fitted line."""
    axes_of = {
        key: entry
        for key, entry in results.items()
        if isinstance(entry, dict) and "points" in entry
    }
    figure = Figure(figsize=(7, 2.6), layout="constrained")
    row: Any = figure.subplots(1, len(axes_of), squeeze=False)[0]
    for axes, (key, entry) in zip(row, axes_of.items(), strict=True):
        values = [int(value) for value in entry["points"]]
        amounts = [value * value if key == "size" else value for value in values]
        line = entry["time"]
        axes.plot(amounts, [point["seconds"] for point in entry["points"].values()], "o")
        ends = [0, max(amounts)]
        axes.plot(ends, [line["intercept"] + line["slope"] * end for end in ends], linewidth=0.8)
        axes.set_xlabel(entry["title"])
        axes.set_title(f"R² {line['r_squared']:.3f}", size=8)
        axes.set_ylim(bottom=0)
    row[0].set_ylabel("seconds a request")
    return figure


_PLOTS: dict[str, Callable[[Mapping[str, Any]], Figure]] = {
    "compliance": plot_compliance,
    "guidance": plot_guidance,
    "throughput": plot_throughput,
    "scaling": plot_scaling,
}
