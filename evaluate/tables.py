"""Results as tables: rows of texts, which Markdown and the page show alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Table:
    """A title, what its columns are called, and its rows, the first cell of which is a name."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]

    def markdown(self) -> str:
        """A Markdown table under its title."""
        lines = [f"## {self.title}", "", _row(self.columns), _row(["---"] * len(self.columns))]
        return "\n".join([*lines, *(_row(row) for row in self.rows)])


def tables(results: Mapping[str, Any]) -> list[Table]:
    """What was measured of each setting, its maps if all were finished (FG-DM, Table 3 and Figure
    7), and each beside the first."""
    settings, comparisons = results["settings"], results["comparisons"]
    found = [Table("Settings", *_figures(settings))]
    finished = [setting for setting in settings if setting["candidates"]]
    if finished:
        keys = list(finished[0]["candidates"])
        title = "Recall of the maps of a prompt, averaged over prompts (FG-DM, Table 3)"
        rows = [[one["name"], *(f"{one['candidates'][k]:.3f}" for k in keys)] for one in finished]
        found.append(Table(title, ["setting", *keys], rows))
    if any(setting["trials"] for setting in finished):
        title = "Prompts by the maps that it took until one was good enough (FG-DM, Figure 7)"
        found.append(Table(title, *_trials(finished)))
    for comparison in comparisons:
        title = f"{comparison['setting']} beside {comparison['against']}"
        titles = next(one for one in settings if one["name"] == comparison["setting"])
        found.append(Table(title, *_comparison(comparison, titles)))
    return found


def markdown(results: Mapping[str, Any], command: str) -> str:
    """The report as Markdown. command: what made it."""
    networks, references = results["networks"], results["references"]
    engine, machine = results["engine"], results["machine"]
    lines = [
        f"# {results['bundle']}: {len(results['prompts'])} prompts",
        "",
        f"`{command}`",
        "",
        f"- made by {engine['runtime']}, {engine['backend']}, {engine['precision']}; "
        f"{machine['processor']}, {machine['cores']} cores",
        f"- features: {_joined(networks['features'])}; labels: {networks['labels'] or 'none'}; "
        f"distances: {networks['distance'] or 'cosine of features'}; "
        f"scorers: {_joined(networks['scorers'])}",
        f"- reference: {references['pictures'] or 'none'}; of maps: {references['maps'] or 'none'}",
        "- brackets hold 95 % intervals of a bootstrap over prompts",
        "",
    ]
    for table in tables(results):
        lines += [table.markdown(), ""]
    if results["notes"]:
        lines += ["## Notes", "", *(f"- {note}" for note in results["notes"]), ""]
    lines.append(time_spent(results))
    return "\n".join(lines) + "\n"


def time_spent(results: Mapping[str, Any]) -> str:
    """A sentence about where the time went."""
    time = results["time"]
    return (
        f"{time['total']:.0f} s, of them {time['engine']:.0f} in the engine ({time['made']} "
        f"pictures) and {time['networks']:.0f} in networks; {time['outside_share']:.1%} elsewhere."
    )


def _figures(settings: Sequence[Mapping[str, Any]]) -> tuple[list[str], list[list[str]]]:
    """A column for each setting, a row for each figure."""
    rows = [["pictures a second", *(_number(one["pictures_per_second"]) for one in settings)]]
    for key, title in _titles(settings, "scores"):
        rows.append([title, *(_cell(one["scores"].get(key), "mean") for one in settings)])
    for key, title in _titles(settings, "totals"):
        rows.append([title, *(_cell(one["totals"].get(key), "value") for one in settings)])
    return ["", *(one["name"] for one in settings)], rows


def _trials(settings: Sequence[Mapping[str, Any]]) -> tuple[list[str], list[list[str]]]:
    """A row for each setting and each value that a map had to reach."""
    most = max(len(one["histogram"]) for setting in settings for one in setting["trials"])
    rows = []
    for setting in settings:
        for one in setting["trials"]:
            counts = [str(count) for count in one["histogram"]]
            rows.append(
                [
                    f"{setting['name']}: {one['of']} of {one['threshold']:.0%}",
                    *counts,
                    *[""] * (most - len(counts)),
                    f"{one['never']} ({one['never_share']:.0%})",
                    _number(one["mean"]),
                ]
            )
    return ["", *(str(trial) for trial in range(1, most + 1)), "never", "mean of the others"], rows


def _comparison(
    comparison: Mapping[str, Any], setting: Mapping[str, Any]
) -> tuple[list[str], list[list[str]]]:
    rows = []
    for kind in ("scores", "totals"):
        for key, figures in comparison[kind].items():
            entry = setting[kind][key]
            better = {True: "more", False: "less", None: ""}[entry["more_is_better"]]
            wins = _cell(figures, "win_rate") if "win_rate" in figures else ""
            rows.append([entry["title"], _cell(figures, "difference"), wins, better])
    return ["", "difference", "wins", "better is"], rows


def _titles(settings: Sequence[Mapping[str, Any]], kind: str) -> list[tuple[str, str]]:
    """Keys and titles of all figures that any setting has."""
    found = {key: entry["title"] for one in settings for key, entry in one[kind].items()}
    return list(found.items())


def _cell(figures: Mapping[str, Any] | None, key: str) -> str:
    if figures is None:
        return ""
    value = figures[key]
    if not isinstance(value, Mapping):
        return _number(value)
    if value["low"] is None:
        return _number(value["estimate"])
    return f"{_number(value['estimate'])} [{_number(value['low'])}, {_number(value['high'])}]"


def _number(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:.3f}" if abs(value) < 100 else f"{value:.1f}"


def _joined(names: Sequence[str]) -> str:
    return ", ".join(names) or "none"


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
