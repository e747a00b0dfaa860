"""FG-DM's Tables 11 and 12 for our model: orders of the factors, and joint beside sequential.

python -m benchmarks.factor_tables bundles/scenes --every 8 --output out/factor_tables.json

A chain is an order of factors (Table 11), sampled one after another or jointly (Table 12). Every
chain runs on a prompt before the next prompt begins, and a factor starts from the same noise in all
of them. A segmenter that steers nothing looks at the pictures; the paper has FID.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from fgdm import Engine, Result
from fgdm.statistics import paired_difference
from fgdm.train.consistency import SCORES, consistency, consistency_limits
from fgdm.train.figures import MIN_AREA, label_recall, mean_iou
from fgdm.train.prompts import HeldOutPrompt
from fgdm.train.segmenter import Segmenter, load_segmenter, segment
from fgdm.train.truth import MAP_KINDS
from numpy.typing import NDArray

from benchmarks.command import (
    add_prompts,
    add_segmenter,
    chosen_prompts,
    engine_options,
    make_parser,
)
from benchmarks.factor_chains import Chain, chains, outputs
from benchmarks.machine import write_results

#: A row's figures, one value a prompt; NaN where a prompt says nothing.
Figures = dict[str, list[float]]
_CPU = torch.device("cpu")
_LIMIT_SCENES = 50


class Row(NamedTuple):
    """A chain of a bundle. bundle: what the titles of its rows begin with."""

    bundle: str
    chain: Chain

    @property
    def title(self) -> str:
        return self.bundle + self.chain.title


def judge(
    result: Result, seen: NDArray[np.uint8], things: list[str], outputs: Mapping[str, str]
) -> dict[str, float]:
    """What one request came to.

    seen: the picture's labels, as the segmenter sees them. outputs: what each factor makes. Of maps
    that aren't labels: how far they agree with the picture, and with the chosen label map.
    """
    recall = label_recall(seen, things)
    figures = {"picture_recall": recall, "everything_found": float(recall >= 1)}
    makes_labels = any(outputs[name] == "labels" for name in result.factors)
    if makes_labels:
        figures |= {"map_recall": result.recall, "miou": mean_iou(seen, result.labels)}
    for name, factor in result.factors.items():
        for kind in MAP_KINDS:
            if outputs[name] == kind:
                picture = np.asarray(factor.map)
                figures[f"{name} with the picture"] = consistency(kind, seen, picture)
                if makes_labels:
                    figures[f"{name} with the map"] = consistency(kind, result.labels, picture)
    return figures


def measure(
    engines: Mapping[str, Engine],
    prompts: Sequence[HeldOutPrompt],
    segmenter: Segmenter,
    candidates: int,
    steps: int | None,
) -> dict[Row, Figures]:
    """Figures of every chain of every bundle. Each is warmed up once.

    engines: by `Row.bundle`. steps: of every map and of the image; None takes the bundle's.
    """
    rows = {
        Row(bundle, chain): engine
        for bundle, engine in engines.items()
        for chain in chains(engine.manifest)
    }
    figures: dict[Row, Figures] = {row: {} for row in rows}
    began = time.monotonic()
    for i, prompt in enumerate([prompts[0], *prompts]):
        for row, engine in rows.items():
            started = time.perf_counter()
            result = engine.generate(
                prompt.prompt,
                objects=prompt.things,
                candidates=candidates,
                min_area=MIN_AREA,
                stop_at_recall=0.0,
                seed=max(0, i - 1),
                **row.chain.options(engine.manifest, steps),
            )
            seconds = time.perf_counter() - started
            if i == 0:
                continue
            (seen,) = segment(segmenter, np.asarray(result.image)[None], _CPU)
            found = judge(result, seen, prompt.things, outputs(engine.manifest))
            for name, value in {**found, "seconds": seconds}.items():
                figures[row].setdefault(name, []).append(value)
        each = (time.monotonic() - began) / (i + 1)
        done = f"prompt {i}/{len(prompts)}" if i else f"warm-up of {len(rows)} chains"
        print(f"{done}, {each:.1f} s each", file=sys.stderr, flush=True)
    return figures


def describe(figures: Figures) -> dict[str, Any]:
    """Means with 95 % intervals, and of how many prompts."""
    described: dict[str, Any] = {}
    for name, values in figures.items():
        said = [value for value in values if np.isfinite(value)]
        if said:
            mean = paired_difference(said, [0.0] * len(said))
            described[name] = mean.to_json() | {"prompts": len(said)}
    return described


def beside(figures: Figures, reference: Figures) -> dict[str, Any]:
    """By how much figures lie above others, prompt by prompt, with 95 % intervals."""
    differences = {}
    for name in figures:
        both = np.array([figures[name], reference.get(name, [np.nan] * len(figures[name]))])
        ours, theirs = both[:, np.isfinite(both).all(0)].tolist()
        if ours:
            differences[name] = paired_difference(ours, theirs).to_json()
    return differences


def tables(figures: Mapping[Row, Figures]) -> dict[str, Any]:
    """Both tables' differences: of the sequential chains from the first that makes a label map, and
    of the joint chains from the same factors one after another."""
    sequential = [row for row in figures if not row.chain.joint]
    first = next((row for row in sequential if "map_recall" in figures[row]), sequential[0])
    return {
        "reference": first.title,
        "order": {
            row.title: beside(figures[row], figures[first]) for row in sequential if row != first
        },
        "joint": {
            row.title: beside(figures[row], figures[Row(row.bundle, Chain(row.chain.factors))])
            for row in figures
            if row.chain.joint
        },
    }


def print_tables(results: dict[str, Any]) -> None:
    """Means, then differences, with the bounds of their 95 % intervals."""
    parts = {
        "means": results["chains"],
        f"Table 11, beside {results['reference']}": results["order"],
        "Table 12, beside one after another": results["joint"],
    }
    for heading, rows in parts.items():
        print(f"\n{heading}")
        for title, figures in rows.items():
            print(f"  {title}")
            for name, interval in figures.items():
                bounds = f"[{interval['low']:.3f}, {interval['high']:.3f}]"
                print(f"    {name:<24}{interval['estimate']:9.3f} {bounds}")


def main(arguments: list[str] | None = None) -> int:
    parser = make_parser(__doc__)
    add_prompts(parser)
    add_segmenter(parser)
    parser.add_argument(
        "--beside",
        type=Path,
        action="append",
        default=[],
        metavar="BUNDLE",
        help="a further bundle, such as one whose factors have another order; repeatable",
    )
    parser.add_argument("--candidates", type=int, default=10, help="of each label map")
    parser.add_argument("--steps", type=int, help="of maps and image; default: the bundle's")
    given = parser.parse_args(arguments)
    prompts = chosen_prompts(given)
    segmenter = load_segmenter(given.segmenter)
    torch.set_num_threads(given.threads)
    try:
        with ExitStack() as opened:
            engines = {
                "" if path == given.bundle else f"{path.name}: ": opened.enter_context(
                    Engine(path, **engine_options(given))
                )
                for path in (given.bundle, *given.beside)
            }
            info = engines[""].info
            size = engines[""].manifest["factors"][0]["height"]
            figures = measure(engines, prompts, segmenter, given.candidates, given.steps)
    except KeyboardInterrupt:
        print("interrupted; nothing is written", file=sys.stderr)
        return 130
    results = {
        "prompts": len(prompts),
        "candidates": given.candidates,
        "runtime": f"{info.runtime} {info.backend} {info.precision}",
        "threads": given.threads,
        "scores": SCORES,
        "limits": consistency_limits(size, _LIMIT_SCENES),
        "chains": {row.title: describe(of) for row, of in figures.items()},
        **tables(figures),
        "by_prompt": {row.title: of for row, of in figures.items()},
    }
    print(f"{results['runtime']}, {len(prompts)} prompts")
    print_tables(results)
    write_results(given.output, results)
    return 0


if __name__ == "__main__":
    sys.exit(main())
