"""Classifier-free beside segmentation-free guidance at equal cost, on the same maps and noise.

python -m benchmarks.guidance bundles/scenes --every 10 --output out/guidance.json

For each prompt the best of N maps is found once. Every setting then paints from it, with the same
image noise: the request gives the chosen candidate's noise, so that one map, the same again, is all
that it samples. Two rows a step whatever the guidance: only time that it really adds would show.
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from fgdm import Engine, Result, StepInfo
from fgdm.statistics import Indices, bootstrap, paired_difference
from fgdm.train.classes import CLASSES
from fgdm.train.figures import MIN_AREA, label_recall, mean_iou
from fgdm.train.prompts import HeldOutPrompt
from fgdm.train.segmenter import Segmenter, load_segmenter, segment
from numpy.typing import NDArray

from benchmarks.command import (
    add_prompts,
    add_segmenter,
    chosen_prompts,
    engine_options,
    make_parser,
)
from benchmarks.machine import available_cores, write_results
from benchmarks.methods import AS_IN_THE_PAPERS, PAPER_STEPS
from benchmarks.statistics import summary

SCALES = (0.0, 5.0, 10.0, 20.0)
STARTS = (1, 5, 10)


@dataclass(frozen=True)
class Sampling:
    """How images are sampled, and from which of their steps on guidance is segmentation-free.

    options: of ``Engine.generate``, maps' included, whatever the guidance.
    """

    steps: int
    starts: tuple[int, ...]
    options: Mapping[str, Any]

    @property
    def settings(self) -> dict[str, dict[str, Any]]:
        """What guides, by name: options of ``Engine.generate``. The bundle's scales are kept."""
        segfree = {
            f"a={scale:g} from {start}": {
                "guidance": "segfree",
                "segfree_scale": scale,
                "segfree_start": start / self.steps,
            }
            for scale in SCALES
            for start in self.starts
        }
        return {"cfg": {"guidance": "cfg"}, **segfree}


IN_THE_PAPERS = Sampling(PAPER_STEPS, STARTS, AS_IN_THE_PAPERS)


def as_shipped(manifest: Mapping[str, Any]) -> Sampling:
    """The bundle's own steps and samplers, of maps and of the image; from its first step on, and
    after a third and two."""
    steps = manifest["factors"][-1]["num_inference_steps"]
    return Sampling(steps, (0, steps // 3, 2 * steps // 3), {})


@dataclass(frozen=True)
class Painting:
    """One picture as the segmenter sees it: recall of the prompt's things, IoU with its map, the
    pixels of each class of the map (hits, all), and the seconds since the map was sampled."""

    recall: float
    miou: float
    hits: NDArray[np.int64]
    pixels: NDArray[np.int64]
    seconds: float


class Painter:
    """Paints one prompt's best map under any setting."""

    def __init__(
        self,
        engine: Engine,
        sampling: Sampling,
        prompt: HeldOutPrompt,
        candidates: int,
        seed: int,
    ) -> None:
        self._engine, self._sampling = engine, sampling
        self._prompt = prompt
        self._seed = seed
        manifest = engine.manifest
        size, cell = manifest["factors"][0], manifest["autoencoder"]["downscale"]
        shape = (candidates, 4, size["height"] // cell, size["width"] // cell)
        noise = np.random.default_rng(seed).standard_normal(shape, np.float32)
        found = self._generate(noise, num_inference_steps=1)
        self._noise = noise[found.chosen : found.chosen + 1]

    def paint(self, setting: dict[str, Any], segmenter: Segmenter) -> Painting:
        """The picture of a setting, timed from the map's last step on."""
        map_done = 0.0

        def watch(info: StepInfo) -> None:
            nonlocal map_done
            if info.factor != "image":
                map_done = time.perf_counter()

        result = self._generate(
            self._noise,
            num_inference_steps=self._sampling.steps,
            step_callback=watch,
            **setting,
        )
        seconds = time.perf_counter() - map_done
        (seen,) = segment(segmenter, np.asarray(result.image)[None], torch.device("cpu"))
        return judge(seen, result.labels, self._prompt.things, seconds)

    def _generate(self, noise: NDArray[np.float32], **options: Any) -> Result:
        return self._engine.generate(
            self._prompt.prompt,
            objects=self._prompt.things,
            candidates=len(noise),
            condition_latents=noise,
            min_area=MIN_AREA,
            stop_at_recall=0.0,
            seed=self._seed,
            **{**self._sampling.options, **options},
        )


def judge(
    seen: NDArray[np.uint8], labels: NDArray[np.uint8], things: list[str], seconds: float
) -> Painting:
    """A picture's labels `seen` beside its map's, both (h, w)."""
    agree = labels[seen == labels]
    return Painting(
        recall=label_recall(seen, things),
        miou=mean_iou(seen, labels),
        hits=np.bincount(agree, minlength=256)[: len(CLASSES)],
        pixels=np.bincount(labels.ravel(), minlength=256)[: len(CLASSES)],
        seconds=seconds,
    )


def class_accuracy(paintings: list[Painting]) -> NDArray[np.float64]:
    """For each class the share of its pixels in the maps that the pictures hold too; NaN for a
    class that no map has."""
    hits = np.sum([painting.hits for painting in paintings], 0)
    pixels = np.sum([painting.pixels for painting in paintings], 0)
    with np.errstate(invalid="ignore"):
        return np.asarray(hits / np.where(pixels, pixels, np.nan), np.float64)


def describe(paintings: list[Painting], reference: list[Painting]) -> dict[str, Any]:
    """A setting's figures, and by how much each lies above the reference's, with 95 % intervals
    of a bootstrap over prompts."""

    def accuracy(chosen: list[Painting]) -> float:
        return float(np.nanmean(class_accuracy(chosen)))

    def accuracy_gain(indices: Indices) -> float:
        ours, theirs = ([side[i] for i in indices] for side in (paintings, reference))
        return accuracy(ours) - accuracy(theirs)

    def gain(of: Callable[[Painting], float]) -> dict[str, float]:
        return paired_difference(
            [of(painting) for painting in paintings], [of(painting) for painting in reference]
        ).to_json()

    by_class = class_accuracy(paintings)
    return {
        "picture_recall": float(np.mean([painting.recall for painting in paintings])),
        "miou": float(np.mean([painting.miou for painting in paintings])),
        "class_accuracy": accuracy(paintings),
        "accuracy_by_class": {
            entry.name: float(value)
            for entry, value in zip(CLASSES, by_class, strict=True)
            if np.isfinite(value)
        },
        "seconds": summary([painting.seconds for painting in paintings]),
        "gains": {
            "picture_recall": gain(lambda painting: painting.recall),
            "miou": gain(lambda painting: painting.miou),
            "class_accuracy": bootstrap(accuracy_gain, len(paintings), resamples=500).to_json(),
        },
    }


def slowest_beside_cfg(settings: dict[str, Any]) -> float:
    """The largest median time of a segmentation-free setting over classifier-free guidance's."""
    medians = {name: figures["seconds"]["median"] for name, figures in settings.items()}
    plain = medians.pop("cfg")
    return float(max(medians.values()) / plain)


def measure(
    engine: Engine,
    sampling: Sampling,
    prompts: list[tuple[int, HeldOutPrompt]],
    segmenter: Segmenter,
    candidates: int,
) -> dict[str, list[Painting]]:
    """Every setting on every numbered prompt, in an order that turns by one each time."""
    settings = sampling.settings
    names = list(settings)
    warm = Painter(engine, sampling, prompts[0][1], candidates, 0)
    warm.paint(settings["cfg"], segmenter)
    paintings: dict[str, list[Painting]] = {name: [] for name in names}
    began = time.monotonic()
    for done, (i, prompt) in enumerate(prompts, 1):
        painter = Painter(engine, sampling, prompt, candidates, seed=i)
        for j in range(len(names)):
            name = names[(i + j) % len(names)]
            paintings[name].append(painter.paint(settings[name], segmenter))
        each = (time.monotonic() - began) / done
        print(f"prompt {done}/{len(prompts)}, {each:.1f} s each", file=sys.stderr, flush=True)
    return paintings


def measure_share(
    given: argparse.Namespace, prompts: list[tuple[int, HeldOutPrompt]]
) -> tuple[str, Sampling, dict[str, list[Painting]]]:
    """One process's prompts: the runtime in words, how was sampled, and the paintings."""
    torch.set_num_threads(given.threads)
    with Engine(given.bundle, **engine_options(given)) as engine:
        sampling = as_shipped(engine.manifest) if given.as_shipped else IN_THE_PAPERS
        segmenter = load_segmenter(given.segmenter)
        paintings = measure(engine, sampling, prompts, segmenter, given.candidates)
        info = engine.info
        return f"{info.runtime} {info.backend} {info.precision}", sampling, paintings


def main(arguments: list[str] | None = None) -> int:
    parser = make_parser(__doc__)
    add_prompts(parser)
    add_segmenter(parser)
    parser.add_argument("--candidates", type=int, default=10, help="maps to choose from")
    parser.add_argument(
        "--jobs", type=int, default=1, help="processes that share the prompts, each with --threads"
    )
    parser.add_argument(
        "--as-shipped",
        action="store_true",
        help="the bundle's own steps and samplers; without it the papers' "
        f"{PAPER_STEPS} steps of DDIM",
    )
    given = parser.parse_args(arguments)
    if not 1 <= given.jobs * given.threads <= available_cores():
        parser.error(f"--jobs times --threads must be 1 to {available_cores()}, the cores here")
    prompts = list(enumerate(chosen_prompts(given)))
    shares = [prompts[job :: given.jobs] for job in range(min(given.jobs, len(prompts)))]
    with ProcessPoolExecutor(len(shares), multiprocessing.get_context("spawn")) as pool:
        measured = list(pool.map(partial(measure_share, given), shares))
    runtime, sampling, first = measured[0]
    paintings = {name: [p for *_, found in measured for p in found[name]] for name in first}
    settings = {name: describe(found, paintings["cfg"]) for name, found in paintings.items()}
    results = {
        "prompts": len(prompts),
        "steps": sampling.steps,
        "runtime": runtime,
        "threads": given.threads,
        "jobs": given.jobs,
        "settings": settings,
        "slowest_beside_cfg": slowest_beside_cfg(settings),
    }
    print(f"{runtime}, {len(prompts)} prompts; [95 % interval of the gain over cfg]")
    print(f"{'':<14}{'recall':>7}{'':18}{'mIoU':>6}{'':18}{'pixels':>7}{'':18}{'seconds':>8}")
    for name, figures in settings.items():
        cells = "".join(
            f"{figures[key]:7.3f} [{figures['gains'][key]['low']:+.3f}, "
            f"{figures['gains'][key]['high']:+.3f}]"
            for key in ("picture_recall", "miou", "class_accuracy")
        )
        print(f"{name:<14}{cells}{figures['seconds']['median']:8.2f}")
    write_results(given.output, results)
    return 0


if __name__ == "__main__":
    sys.exit(main())
