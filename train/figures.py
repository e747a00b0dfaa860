"""Measures a bundle on the held-out prompts: recall of its maps and of its painted pictures."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from fgdm import Engine, Result
from numpy.typing import NDArray
from safetensors.torch import load_file

from .classes import CLASSES, INDEX
from .prompts import HeldOutPrompt, load_prompts
from .segmenter import Segmenter, segment

MIN_AREA = 0.002
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
    areas = np.bincount(labels.ravel(), minlength=256) / labels.size
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
            prompt.prompt, objects=prompt.things, seed=i, min_area=MIN_AREA, **options
        )
        if (i + 1) % 10 == 0 or i + 1 == len(prompts):
            rate = (time.monotonic() - began) / (i + 1)
            print(
                f"{title}: {i + 1}/{len(prompts)} prompts, {rate:.2f} s each",
                file=sys.stderr,
                flush=True,
            )


def map_recalls(
    engine: Engine, prompts: list[HeldOutPrompt], steps: int, candidates: int = 10
) -> NDArray[np.float64]:
    """Recall of every candidate: (prompts, candidates). The picture gets one step, being unused."""
    results = _generate(
        engine,
        prompts,
        f"maps, {steps} steps",
        candidates=candidates,
        condition_steps=steps,
        num_inference_steps=1,
    )
    return np.array([[candidate.recall for candidate in r.candidates] for r in results])


def picture_figures(
    engine: Engine, prompts: list[HeldOutPrompt], segmenter: Segmenter, **options: Any
) -> dict[str, float]:
    """Recall of the painted pictures as the segmenter sees them; their agreement with the map."""
    recalls, chosen, ious = [], [], []
    for prompt, result in zip(
        prompts, _generate(engine, prompts, "pictures", **options), strict=True
    ):
        picture = np.asarray(result.image)[None]
        labels = segment(segmenter, picture, torch.device("cpu"))[0]
        recalls.append(label_recall(labels, prompt.things))
        chosen.append(result.recall)
        if labels.shape == result.labels.shape:
            ious.append(mean_iou(labels, result.labels))
    return {
        "image_recall": float(np.mean(recalls)),
        "all_found": float(np.mean(np.array(recalls) >= 1)),
        "chosen_map_recall": float(np.mean(chosen)),
        "miou_with_map": float(np.mean(ious)) if ious else float("nan"),
    }


def measure(
    bundle: Path,
    prompts: list[HeldOutPrompt],
    segmenter: Segmenter | None,
    step_counts: tuple[int, ...],
) -> dict[str, Any]:
    """Every figure of the model card for one bundle."""
    figures: dict[str, Any] = {"prompts": len(prompts), "maps": {}}
    half = len(prompts) // 2
    with Engine(bundle) as engine:
        figures["backend"] = f"{engine.info.runtime} {engine.info.backend} {engine.info.precision}"
        for steps in step_counts:
            recalls = map_recalls(engine, prompts, steps)
            rows: dict[str, Any] = {}
            for count in (1, 5, 10):
                rows[f"N={count}"] = table_row(recalls, count)
                rows[f"N={count}"]["easier_half_max"] = float(recalls[:half, :count].max(1).mean())
                rows[f"N={count}"]["harder_half_max"] = float(recalls[half:, :count].max(1).mean())
            figures["maps"][f"steps={steps}"] = rows
        if segmenter is not None:
            figures["pictures"] = {
                "fgdm": picture_figures(engine, prompts, segmenter),
                # The same base and the same image noise with the map's influence switched off.
                "base": picture_figures(
                    engine,
                    prompts,
                    segmenter,
                    candidates=1,
                    condition_steps=1,
                    controlnet_conditioning_scale=0.0,
                ),
            }
    return figures


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
    options = parser.parse_args(arguments)
    segmenter = None
    if options.segmenter is not None:
        segmenter = Segmenter()
        weights = {key: value.float() for key, value in load_file(options.segmenter).items()}
        segmenter.load_state_dict(weights)
        segmenter.eval()
    prompts = load_prompts(options.prompts)[:: options.every]
    figures = measure(options.bundle, prompts, segmenter, tuple(options.steps))
    text = json.dumps(figures, indent=1)
    if options.output is not None:
        options.output.write_text(text + "\n")
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
