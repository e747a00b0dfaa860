"""Prompt compliance and its price: FG-DM's Tables 3 and 4 for our model, on held-out prompts.

python -m benchmarks.compliance bundles/scenes --every 10 --output out/compliance.json

Every method runs on a prompt before the next prompt begins, so that a slow moment of the machine
meets all of them. Painted pictures are judged by a segmenter that steered none of them but those of
"base, N = 10, then the segmenter", and of rows that paint again what it finds fault with. What is
measured goes into a file beside the output (.jsonl) prompt by prompt, and a run that is started
again goes on there.
"""

from __future__ import annotations

import math
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from fgdm.statistics import paired_difference, paired_ratio
from fgdm.train.figures import label_recall, mean_iou, table_row
from fgdm.train.prompts import HeldOutPrompt
from fgdm.train.segmenter import load_segmenter

from benchmarks.command import (
    add_minutes,
    add_prompts,
    add_segmenter,
    chosen_prompts,
    engine_options,
    make_parser,
)
from benchmarks.journal import Journal
from benchmarks.machine import write_results
from benchmarks.methods import METHODS, Method
from benchmarks.statistics import shares, summary
from benchmarks.systems import Systems

_RIVAL, _PAPER = "base_10", "fgdm_10x10"
_STRIDE = 8
_WORKED = "processor_seconds"
_TIMES = ("seconds", _WORKED)


@dataclass(frozen=True)
class Scored:
    """An outcome without its picture, whose recall by the segmenter it has. miou: of what the
    segmenter sees in the picture, and the chosen map."""

    seconds: float
    processor_seconds: float
    picture_recall: float
    recalls: Sequence[float] = ()
    map_recall: float | None = None
    map_rows: int | None = None
    miou: float | None = None


def measure(
    systems: Systems,
    methods: list[Method],
    prompts: list[HeldOutPrompt],
    journal: Journal,
    minutes: float = math.inf,
) -> dict[str, list[Scored]]:
    """Each method's scores, by prompt; those that the journal has aren't measured again. Each
    method is warmed up once."""
    until = time.monotonic() + 60 * minutes
    kept = {i: found for i in range(len(prompts)) if (found := journal.get(i))}
    # Prompts get harder: of a run that ends early the prompts of all levels are there.
    missing = sorted(set(range(len(prompts))) - set(kept), key=lambda i: (i % _STRIDE, i))
    for method in methods if missing else []:
        systems.run(method, prompts[0], seed=len(prompts))
        _report(f"warm-up: {method.title}")
    for i in missing:
        if time.monotonic() > until:
            break
        began = time.monotonic()
        kept[i] = {m.name: vars(_scored(systems, m, prompts[i], seed=i)) for m in methods}
        journal.add(i, kept[i])
        _report(f"{len(kept)} of {len(prompts)} prompts: {time.monotonic() - began:.1f} s")
    return {
        method.name: [Scored(**kept[i][method.name]) for i in sorted(kept)] for method in methods
    }


def _scored(systems: Systems, method: Method, prompt: HeldOutPrompt, seed: int) -> Scored:
    outcome = systems.run(method, prompt, seed)
    (seen,) = systems.seen(outcome.picture[None])
    return Scored(
        *outcome.seconds,
        label_recall(seen, prompt.things),
        outcome.recalls,
        outcome.map_recall,
        outcome.map_rows,
        None if outcome.labels is None else mean_iou(seen, outcome.labels),
    )


def describe(method: Method, scores: list[Scored]) -> dict[str, Any]:
    """One method's figures. candidates is its row of Table 3, `picture` and `seconds` of Table 4;
    the lists hold one value a prompt."""
    times = {name: [getattr(one, name) for one in scores] for name in _TIMES}
    recalls = [one.picture_recall for one in scores]
    figures: dict[str, Any] = {
        "title": method.title,
        "system": method.system,
        "candidates_sampled": method.candidates,
        "options": dict(method.options),
        "repaint": method.repaint,
        **{name: summary(found) for name, found in times.items()},
        "picture_recall": summary(recalls) | {"share_at": shares(recalls)},
        "by_prompt": {**times, "picture_recall": recalls},
    }
    ious = [one.miou for one in scores if one.miou is not None]
    if ious:
        figures["miou"] = summary(ious)
        figures["by_prompt"]["miou"] = ious
    maps = [one.map_recall for one in scores if one.map_recall is not None]
    if maps:
        figures["map_recall"] = summary(maps) | {"share_at": shares(maps)}
        figures["by_prompt"]["map_recall"] = maps
    rows = [one.map_rows for one in scores if one.map_rows is not None]
    if rows:
        figures["map_rows"] = float(np.mean(rows))
    candidates = [one.recalls for one in scores]
    if {len(found) for found in candidates} == {method.candidates}:
        figures["candidates"] = table_row(np.array(candidates), method.candidates)
    return figures


def compare(methods: dict[str, Any]) -> dict[str, Any]:
    """Every method beside base N = 10, prompt by prompt, with 95 % intervals.

    speedup: times as fast; processor_speedup: by what the processor worked;
    speedup_over_diffusers: than base N = 10 in diffusers.
    picture_recall_gain: of the pictures. chosen_recall_gain: of the chosen map over the base's best
    image, each as its own method measures it, which is how the paper compares.
    """
    if _RIVAL not in methods:
        return {}
    rival = methods[_RIVAL]["by_prompt"]
    torch_rival = methods.get("diffusers_10")
    compared = {}
    for name, figures in methods.items():
        own = figures["by_prompt"]
        row = {
            "speedup": paired_ratio(rival["seconds"], own["seconds"]),
            "processor_speedup": paired_ratio(rival[_WORKED], own[_WORKED]),
            "picture_recall_gain": paired_difference(
                own["picture_recall"], rival["picture_recall"]
            ),
        }
        if torch_rival is not None:
            seconds = torch_rival["by_prompt"]["seconds"]
            row["speedup_over_diffusers"] = paired_ratio(seconds, own["seconds"])
        if "map_recall" in own:
            row["chosen_recall_gain"] = paired_difference(
                own["map_recall"], rival["picture_recall"]
            )
        compared[name] = {key: interval.to_json() for key, interval in row.items()}
    return compared


def save(methods: dict[str, Any]) -> dict[str, Any]:
    """What options save beside FG-DM with N = 10 and 10 steps a map: the fraction of map rows and
    of time, and what it costs: the chosen map's and the picture's recall, and mIoU of both.

    processor_share: of what the processor worked there, with its interval.
    """
    if _PAPER not in methods:
        return {}
    plain = methods[_PAPER]
    saved = {}
    for name, figures in methods.items():
        if METHODS[name].system != "fgdm" or name == _PAPER:
            continue
        losses = {
            f"{measure}_loss": paired_difference(
                plain["by_prompt"][measure], figures["by_prompt"][measure]
            ).to_json()
            for measure in ("map_recall", "picture_recall", "miou")
            if measure in figures["by_prompt"]
        }
        saved[name] = {
            "map_rows": 1 - figures["map_rows"] / plain["map_rows"]
            if "map_rows" in plain
            else None,
            "seconds": 1 - figures["seconds"]["mean"] / plain["seconds"]["mean"],
            "processor_share": paired_ratio(
                figures["by_prompt"][_WORKED], plain["by_prompt"][_WORKED]
            ).to_json(),
            **losses,
        }
    return saved


def print_table(results: dict[str, Any]) -> None:
    """Table 4's columns, and the best of N of Table 3's. Seconds are the processor's."""
    print(f"{'':<46}{'picture':>8}{'all':>6}{'map':>7}{'best':>6}{'rows':>6}{'seconds':>9}{'×':>6}")
    for name, figures in results["methods"].items():
        picture, chosen = figures["picture_recall"], figures.get("map_recall")
        best = figures.get("candidates")
        speedup = results["comparisons"].get(name, {}).get("processor_speedup")
        print(
            f"{figures['title']:<46}{picture['mean']:8.3f}{picture['share_at']['1.0']:6.0%}"
            + (f"{chosen['mean']:7.3f}" if chosen else f"{'':7}")
            + (f"{best['max']:6.2f}" if best else f"{'':6}")
            + (f"{figures['map_rows']:6.0f}" if "map_rows" in figures else f"{'':6}")
            + f"{figures[_WORKED]['mean']:9.2f}"
            + (f"{speedup['estimate']:6.1f}" if speedup else "")
        )


def main(arguments: list[str] | None = None) -> int:
    parser = make_parser(__doc__)
    add_prompts(parser)
    add_segmenter(parser)
    add_minutes(parser)
    parser.add_argument(
        "--methods", nargs="+", choices=list(METHODS), default=list(METHODS), metavar="NAME"
    )
    given = parser.parse_args(arguments)
    methods = [METHODS[name] for name in given.methods]
    prompts = chosen_prompts(given)
    with tempfile.TemporaryDirectory() as scratch:
        systems = Systems(
            given.bundle,
            Path(scratch),
            load_segmenter(given.segmenter),
            **engine_options(given),
        )
        settings = {
            "bundle": systems.engine.info.bundle,
            "threads": given.threads,
            "runtime": systems.runtime,
            "torch_runtime": systems.torch_runtime,
        }
        chosen = {
            "methods": {one.name: [dict(one.options), one.repaint] for one in methods},
            "prompts": given.prompts.name,
            "every": given.every,
        }
        journal = Journal.beside(given.output, {**settings, **chosen})
        scores = measure(systems, methods, prompts, journal, given.minutes)
        systems.close()
    measured = {method.name: describe(method, scores[method.name]) for method in methods}
    count = len(scores[methods[0].name])
    results = {
        **settings,
        "prompts": count,
        "methods": measured,
        "comparisons": compare(measured),
        "savings": save(measured),
    }
    print(f"{systems.runtime} and {systems.torch_runtime}, {count} prompts")
    print_table(results)
    write_results(given.output, results)
    return 0


def _report(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
