"""The ways of editing pictures of held-out scenes with ground truth, side by side.

python -m benchmarks.editing bundles/scenes --every 4 --output out/editing.json

Each of 200 pictures of the procedural world has one thing replaced, removed, added or moved. A new
thing's place is given by a box, an old one's by its region of the map. The ways:

mask      its map is inverted and edited, and the picture painted anew from it (engine.edit)
pixel     the picture is inverted with its map, and edited with the edited one
paste     what is new of "mask" is pasted onto the picture, and the seam painted again
base      the picture is inverted and edited without any map, as LEDITS++ was published (keep=False)
published its map alone, as LEDITS++ was published
diffusers what "base" does, by diffusers' LEDITS++ pipeline on the same weights (--ways diffusers);
          of edits with masks of their own it takes one mask, all of them together

An edit succeeds where what was asked for is seen on at least min_area of its place, and what was to
go on less of its old one: on the edited map ("map"), and on the picture by a segmenter that steered
nothing. Untouched is what neither the old thing's region nor the new one's box holds: the mean IoU
of its classes, with the true ones on the map, on pictures with those that the segmenter sees before
the edit; and the PSNR of its pixels. Seconds count all that a way needs, of edits one by one.

What is measured goes into a file beside the output (.jsonl) edit by edit. A run that is started
again with the same settings goes on from there.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import fgdm
import numpy as np
import torch
from fgdm import Engine
from fgdm.result import Result
from fgdm.statistics import bootstrap, psnr
from fgdm.train.segmenter import Segmenter, load_segmenter, segment

from benchmarks.command import add_minutes, add_segmenter, engine_options, make_parser
from benchmarks.editing_tasks import KINDS, MIN_AREA, Labels, Mask, Task, doubled, make_tasks, share
from benchmarks.journal import Journal
from benchmarks.ledits import Ledits
from benchmarks.machine import write_results

FACTOR = "segmentation"
WAYS = ("mask", "pixel", "paste", "base", "published")
#: Those that need a rival, which are made where they are asked for.
RIVAL_WAYS = ("diffusers",)


@dataclass(frozen=True)
class Settings:
    """Of all ways."""

    steps: int
    skip: float
    scale: float
    image_steps: int
    seam_strength: float


class Editor:
    """Edits a task in every way, and judges what comes out."""

    def __init__(
        self,
        engine: Engine,
        segmenter: Segmenter,
        settings: Settings,
        ways: Sequence[str] = WAYS,
        rival: Ledits | None = None,
    ) -> None:
        """rival: for the way "diffusers"."""
        self._engine, self._segmenter, self._settings = engine, segmenter, settings
        self._ways, self._rival = ways, rival

    def measure(self, task: Task) -> Iterator[tuple[str, dict[str, Any]]]:
        """Each way with its figures."""
        self._before = self._seen(task.image)
        if set(self._ways) - {"base", "diffusers"}:
            for way, figures in self._of_the_map(task):
                if way in self._ways:
                    yield way, figures
        if "base" in self._ways:
            began = time.perf_counter()
            alone: dict[str, Any] = {"factors": {FACTOR: None}}
            of_image = self._engine.invert(image=task.image, **self._inverting(task), **alone)
            edits = task.image_edits(self._settings.scale)
            base = self._engine.edit(
                of_image, edits, task.prompt, keep=False, seed=task.index, **alone
            )
            yield "base", self._judged(task, time.perf_counter() - began, base.image, None)
        if "diffusers" in self._ways:
            assert self._rival is not None
            began = time.perf_counter()
            image = self._rival.edit(
                task.image,
                task.image_edits(self._settings.scale),
                self._settings.steps,
                self._settings.skip,
                task.index,
            )
            yield "diffusers", self._judged(task, time.perf_counter() - began, image, None)

    def _inverting(self, task: Task) -> dict[str, Any]:
        settings = self._settings
        return {"steps": settings.steps, "skip": settings.skip, "seed": task.index}

    def _of_the_map(self, task: Task) -> Iterator[tuple[str, dict[str, Any]]]:
        settings, engine = self._settings, self._engine
        inverting = self._inverting(task)
        painting: dict[str, Any] = {
            "num_inference_steps": settings.image_steps,
            "seed": task.index,
        }
        began = time.perf_counter()
        of_map = engine.invert(map=task.labels, **inverting)
        edits = task.edits(settings.scale)
        inverted = time.perf_counter() - began
        mask = engine.edit(of_map, edits, task.prompt, **painting)
        mask_seconds = time.perf_counter() - began
        map_seconds = mask_seconds - _image_seconds(mask)
        yield "mask", self._judged(task, mask_seconds, mask.image, mask.labels)

        if "pixel" in self._ways:
            began = time.perf_counter()
            new_map: Any = {FACTOR: {"map": mask.labels}}
            of_image = engine.invert(
                image=task.image, factors={FACTOR: {"map": task.labels}}, **inverting
            )
            image_edits = task.image_edits(settings.scale)
            pixel = engine.edit(
                of_image, image_edits, task.prompt, factors=new_map, seed=task.index
            )
            seconds = map_seconds + time.perf_counter() - began
            yield "pixel", self._judged(task, seconds, pixel.image, mask.labels)

        if "paste" not in self._ways:
            pass
        elif (mask.labels != task.labels).any():
            began = time.perf_counter()
            paste = engine.paste(
                of_map,
                mask,
                task.image,
                task.prompt,
                strength=settings.seam_strength,
                **painting,
            )
            seconds = mask_seconds + time.perf_counter() - began
            yield "paste", self._judged(task, seconds, paste.image, mask.labels)
        else:  # there is nothing to paste
            yield "paste", self._judged(task, mask_seconds, task.image, mask.labels)

        if "published" in self._ways:
            began = time.perf_counter()
            published = engine.edit(
                of_map, edits, task.prompt, keep=False, num_inference_steps=1, seed=task.index
            )
            seconds = inverted + time.perf_counter() - began - _image_seconds(published)
            yield "published", self._judged(task, seconds, None, published.labels)

    def _seen(self, image: Any) -> Labels:
        (labels,) = segment(self._segmenter, np.asarray(image)[None], torch.device("cpu"))
        return np.asarray(labels)

    def _judged(
        self, task: Task, seconds: float, image: Any, labels: Labels | None
    ) -> dict[str, Any]:
        figures: dict[str, Any] = {"seconds": seconds}
        if labels is not None:
            figures |= {
                "map_success": succeeded(task, labels),
                "map_untouched_iou": mean_iou(task.labels, labels, task.untouched),
            }
        if image is not None:
            seen, pixels = self._seen(image), doubled(task.untouched)
            figures |= {
                "success": succeeded(task, seen),
                "untouched_iou": mean_iou(self._before, seen, task.untouched),
                "untouched_psnr": min(psnr(np.asarray(image)[pixels], task.image[pixels]), 99.0),
            }
        return figures


def _image_seconds(result: Result) -> float:
    """What of the result's seconds the image took: all that isn't a condition factor's."""
    return result.timings["total"] - sum(
        seconds for one in result.factors.values() for seconds in one.timings.values()
    )


def succeeded(task: Task, labels: Labels) -> bool:
    came = not task.add or share(labels, task.add, task.place) >= MIN_AREA
    left = task.old & ~task.place if task.kind == "move" else np.ones_like(task.old)
    gone = not task.remove or share(labels, task.remove, left) < MIN_AREA
    return came and gone


def mean_iou(before: Labels, after: Labels, where: Mask) -> float:
    """The mean over the classes that are there before."""
    ious = []
    for label in np.unique(before[where]):
        if label != 255:
            one, other = (before == label) & where, (after == label) & where
            ious.append((one & other).sum() / (one | other).sum())
    return float(np.mean(ious))


def summarized(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Means of all figures with their intervals, of all edits and of each kind."""
    figures: dict[str, Any] = {}
    for kind in ("all", *KINDS):
        chosen = [row for row in rows if kind in ("all", row["kind"])]
        figures[kind] = {"edits": len(chosen)}
        for name in rows[0]:
            if name in ("kind", "index") or not chosen:
                continue
            values = np.array([row[name] for row in chosen], np.float64)
            figures[kind][name] = bootstrap(
                lambda picked, values=values: float(values[picked].mean()),  # type: ignore[misc]
                len(values),
                expanded=True,
            ).to_json()
    return figures


def of_diffusers_time(ways: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, float]:
    """The seconds of each other way over those of diffusers, of all edits together; empty where
    that wasn't asked for."""
    seconds = {way: sum(row["seconds"] for row in rows) for way, rows in ways.items()}
    theirs = seconds.pop("diffusers", None)
    return {} if theirs is None else {way: ours / theirs for way, ours in seconds.items()}


def main(arguments: list[str] | None = None) -> int:
    parser = make_parser(__doc__)
    add_segmenter(parser)
    parser.add_argument("--every", type=int, default=1, help="take every n-th edit of each kind")
    parser.add_argument(
        "--ways",
        nargs="+",
        choices=(*WAYS, *RIVAL_WAYS),
        default=list(WAYS),
        help="which of the ways; default: all of fgdm's",
    )
    add_minutes(parser)
    parser.add_argument("--steps", type=int, default=20, help="of the whole schedule; default: 20")
    parser.add_argument("--skip", type=float, default=0.2, help="of them, left out; default: 0.2")
    parser.add_argument("--scale", type=float, default=8.0, help="of the edits; default: 8")
    parser.add_argument("--image-steps", type=int, default=10, help="of what is painted anew")
    parser.add_argument("--seam-strength", type=float, default=0.6, help="of pasting")
    given = parser.parse_args(arguments)
    settings = Settings(
        given.steps, given.skip, given.scale, given.image_steps, given.seam_strength
    )
    ways: dict[str, list[dict[str, Any]]] = {}
    with fgdm.Engine(given.bundle, **engine_options(given)) as engine:
        spec = next(f for f in engine.manifest["factors"] if f["name"] == FACTOR)
        runtime, bundle = engine.info.runtime, engine.info.bundle
        keys = {**vars(settings), "bundle": bundle, "runtime": runtime, "threads": given.threads}
        if given.ways != list(WAYS):
            keys["ways"] = given.ways
        rival = None
        if "diffusers" in given.ways:
            rival = Ledits(given.bundle, engine.manifest["scheduler"], given.threads)
        journal = Journal.beside(given.output, keys)
        editor = Editor(engine, load_segmenter(given.segmenter), settings, given.ways, rival)
        until = time.monotonic() + 60 * given.minutes
        for task in make_tasks(spec["height"], given.every):
            measured = journal.get(task.index)
            if measured is None and time.monotonic() > until:
                continue
            if measured is None:
                measured = dict(editor.measure(task))
                journal.add(task.index, measured)
            for way, figures in measured.items():
                row = {"index": task.index, "kind": task.kind, **figures}
                ways.setdefault(way, []).append(row)
            print(f"edit {task.index} ({task.kind})", file=sys.stderr, flush=True)
    table = {way: summarized(rows) for way, rows in ways.items()}
    for way, kinds in table.items():
        for kind, figures in kinds.items():
            cells = [
                f"{name} {value['estimate']:.2f} [{value['low']:.2f}, {value['high']:.2f}]"
                for name, value in figures.items()
                if name != "edits"
            ]
            print(f"{way:9} {kind:8}", f"n {figures['edits']}", *cells, sep="  ")
    times = of_diffusers_time(ways)
    for way, part in times.items():
        print(f"{way} takes {part:.2f} of diffusers' time")
    results = {"runtime": runtime, **vars(settings), "threads": given.threads, "ways": table}
    write_results(given.output, {**results, "of_diffusers_time": times})
    return 0


if __name__ == "__main__":
    sys.exit(main())
