"""Measures a bundle on the held-out prompts: recall of its maps and of its painted pictures."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from fgdm import Engine, Result
from fgdm.statistics import paired_difference
from numpy.typing import NDArray

from .classes import CLASSES, INDEX, THINGS
from .dataset import render_scenes
from .prompts import HeldOutPrompt, load_prompts
from .segmenter import Segmenter, load_segmenter, segment

MIN_AREA = 0.002
#: The first seed of the scenes that the segmenter is measured on, far from every training set.
CALIBRATION_SEED = 8_000_000
_THRESHOLDS = (0.5, 0.75, 0.9)


def table_row(recalls: NDArray[np.float64], count: int) -> dict[str, float]:
    """One row of the FG-DM paper's Table 3, from (prompts, candidates) recalls: averages over
    prompts of the minimum, mean, median and maximum of the first `count` candidates, and of how
    many of them reach each threshold."""
    first = recalls[:, :count]
    row = {
        "min": float(first.min(1).mean()),
        "mean": float(first.mean()),
        "median": float(np.median(first, 1).mean()),
        "max": float(first.max(1).mean()),
        "all_found": float((first.max(1) >= 1).mean()),
    }
    for threshold in _THRESHOLDS:
        row[f"maps_at_{threshold}"] = float((first >= threshold).sum(1).mean())
    return row


def label_recall(labels: NDArray[np.uint8], things: list[str]) -> float:
    """Found things / requested things of one label map."""
    (areas,) = _areas(labels[None])
    return float(np.mean([areas[INDEX[thing]] >= MIN_AREA for thing in things]))


def mean_iou(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> float:
    """Mean intersection over union of the classes that occur in either label map."""
    ious = [
        np.logical_and(a == i, b == i).sum() / np.logical_or(a == i, b == i).sum()
        for i in range(len(CLASSES))
        if (a == i).any() or (b == i).any()
    ]
    return float(np.mean(ious))


def _generate(
    engine: Engine, prompts: list[HeldOutPrompt], title: str, **options: Any
) -> Iterator[Result]:
    began = time.monotonic()
    for i, prompt in enumerate(prompts):
        yield engine.generate(
            prompt.prompt,
            objects=prompt.things,
            seed=i,
            min_area=MIN_AREA,
            stop_at_recall=0.0,
            **options,
        )
        if (i + 1) % 10 == 0 or i + 1 == len(prompts):
            rate = (time.monotonic() - began) / (i + 1)
            print(
                f"{title}: {i + 1}/{len(prompts)} prompts, {rate:.2f} s each",
                file=sys.stderr,
                flush=True,
            )


def map_recalls(results: Iterable[Result]) -> NDArray[np.float64]:
    """Recall of every candidate: (prompts, candidates)."""
    return np.array([[candidate.recall for candidate in r.candidates] for r in results])


def map_table(recalls: NDArray[np.float64]) -> dict[str, dict[str, float]]:
    """Table 3 for N in 1, 5 and 10, and the best of N on the easier and the harder half."""
    half = len(recalls) // 2
    rows = {}
    for count in (1, 5, 10):
        best = recalls[:, :count].max(1)
        rows[f"N={count}"] = table_row(recalls, count) | {
            "easier_half_max": float(best[:half].mean()),
            "harder_half_max": float(best[half:].mean()),
        }
    return rows


def picture_figures(
    painted: list[Result],
    results: list[Result],
    prompts: list[HeldOutPrompt],
    segmenter: Segmenter,
) -> dict[str, float]:
    """Recall of the pictures of ``painted`` as the segmenter sees them, and their agreement with
    the maps that ``results`` chose."""
    pictures = np.stack([np.asarray(result.image) for result in painted])
    labels = segment(segmenter, pictures, torch.device("cpu"))
    recalls = np.array(
        [label_recall(seen, p.things) for seen, p in zip(labels, prompts, strict=True)]
    )
    ious = [mean_iou(seen, r.labels) for seen, r in zip(labels, results, strict=True)]
    return {
        "image_recall": float(recalls.mean()),
        "all_found": float((recalls >= 1).mean()),
        "miou_with_map": float(np.mean(ious)),
    }


def segmenter_figures(
    segmenter: Segmenter, image_size: int, map_size: int, scenes: int = 400
) -> dict[str, Any]:
    """How far the instrument can be trusted: what it sees in scenes whose things are known.

    By class: recall, the share of the scenes with the thing where it is found; false_alarms, the
    share of the scenes without it where it is found nevertheless. No model saw these scenes.
    """
    rendered = render_scenes(CALIBRATION_SEED, scenes, image_size, map_size)
    seen = _areas(segment(segmenter, rendered.images, torch.device("cpu"))) >= MIN_AREA
    areas = _areas(rendered.labels)
    recall, false_alarms = {}, {}
    for name in THINGS:
        i = INDEX[name]
        recall[name] = float(seen[areas[:, i] >= MIN_AREA, i].mean())
        false_alarms[name] = float(seen[areas[:, i] == 0, i].mean())
    return {
        "scenes": scenes,
        "recall": float(np.mean(list(recall.values()))),
        "false_alarms": float(np.mean(list(false_alarms.values()))),
        "by_class": {"recall": recall, "false_alarms": false_alarms},
    }


def _areas(labels: NDArray[np.uint8]) -> NDArray[np.float64]:
    """The fraction of each class in each of (n, s, s) label maps: (n, 256)."""
    return np.stack([np.bincount(scene.ravel(), minlength=256) / scene.size for scene in labels])


def measure(
    bundle: Path,
    prompts: list[HeldOutPrompt],
    segmenter: Segmenter | None,
    step_counts: list[int],
    threads: int = 0,
    **sampling: Any,
) -> dict[str, Any]:
    """Every figure of the model card for one bundle.

    Pictures are painted in the first pass only; in the others the picture gets one step. threads:
    of the runtime; 0: it chooses. sampling: further arguments of ``Engine.generate``.
    """
    figures: dict[str, Any] = {"prompts": len(prompts), "maps": {}}
    with Engine(bundle, threads=threads) as engine:
        figures["runtime"] = f"{engine.info.runtime} {engine.info.backend} {engine.info.precision}"
        for i, steps in enumerate(step_counts):
            painted = segmenter is not None and i == 0
            options = sampling if painted else sampling | {"num_inference_steps": 1}
            title = f"{steps} steps a map"
            results = list(_generate(engine, prompts, title, condition_steps=steps, **options))
            figures["maps"][f"steps={steps}"] = map_table(map_recalls(results))
            if segmenter is not None and painted:
                # The same base and the same image noise, the map's influence switched off.
                plain = {"candidates": 1, "condition_steps": 1}
                base = _generate(
                    engine, prompts, "base", controlnet_conditioning_scale=0.0, **plain
                )
                figures["pictures"] = {
                    "chosen_map_recall": float(np.mean([result.recall for result in results])),
                    "fgdm": picture_figures(results, results, prompts, segmenter),
                    "base": picture_figures(list(base), results, prompts, segmenter),
                }
                sizes = results[0].image.width, results[0].map.width
                figures["segmenter"] = segmenter_figures(segmenter, *sizes)
    return figures


def maps_beside(
    bundle: Path,
    other: Path,
    prompts: list[HeldOutPrompt],
    steps: int,
    threads: int = 0,
    **sampling: Any,
) -> dict[str, Any]:
    """What the maps of `bundle` are worth beside those of `other`, prompt by prompt from the same
    seeds: the recall that one map and the best of N have more, with 95 % intervals; `time`, the
    processor's, each picture with one step, as a share of the other's."""
    recalls, seconds = [], []
    for folder in (bundle, other):
        with Engine(folder, threads=threads) as engine:
            began = time.process_time()
            options = {"condition_steps": steps, "num_inference_steps": 1, **sampling}
            recalls.append(map_recalls(_generate(engine, prompts, str(folder), **options)))
            seconds.append(time.process_time() - began)
    ways = {f"N={count}": [r[:, :count].max(1) for r in recalls] for count in (5, 10)}
    more = {
        name: paired_difference(*(best.tolist() for best in bests)).to_json()
        for name, bests in {"one": [r.mean(1) for r in recalls], **ways}.items()
    }
    return {"prompts": len(prompts), "steps": steps, "more": more, "time": seconds[0] / seconds[1]}


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m fgdm.train.figures", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--prompts", type=Path, default=Path("benchmarks/prompts.json"))
    parser.add_argument("--every", type=int, default=1, help="use every n-th prompt only")
    parser.add_argument(
        "--segmenter", type=Path, help="weights; without them only maps are measured"
    )
    parser.add_argument("--steps", type=int, nargs="+", default=[10, 20])
    parser.add_argument("--output", type=Path, help="JSON file of the figures")
    parser.add_argument("--threads", type=int, default=0, help="default: the runtime's choice")
    parser.add_argument("--condition-sampler", help="of the maps; default: the bundle's")
    parser.add_argument(
        "--beside", type=Path, help="compare maps with those of another bundle, and nothing else"
    )
    options = parser.parse_args(arguments)
    segmenter = None if options.segmenter is None else load_segmenter(options.segmenter)
    prompts = load_prompts(options.prompts)[:: options.every]
    sampling = {"condition_sampler": options.condition_sampler, "threads": options.threads}
    if options.beside is not None:
        bundles = options.bundle, options.beside
        figures = maps_beside(*bundles, prompts, options.steps[0], **sampling)
    else:
        figures = measure(options.bundle, prompts, segmenter, options.steps, **sampling)
    text = json.dumps(figures, indent=1)
    if options.output is not None:
        options.output.write_text(text + "\n")
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
