"""The ways of editing pictures of held-out scenes with ground truth, side by side.

python -m benchmarks.editing bundles/scenes --every 4 --output out/editing.json

Each of 200 pictures of the procedural world has one thing replaced, removed, added or moved. A new
thing's place is given by a box, an old one's by its region of the map. The ways:

mask      its map is inverted and edited, and the picture painted anew from it (engine.edit)
pixel     the picture is inverted with its map, and edited with the edited one
paste     what is new of "mask" is pasted onto the picture, and the seam painted again
base      the picture is inverted and edited without any map, as LEDITS++ was published (keep=False)
published its map alone, as LEDITS++ was published

An edit succeeds where what was asked for is seen on at least min_area of its place, and what was to
go on less of its old one: on the edited map ("map"), and on the picture by a segmenter that steered
nothing. Untouched is what neither the old thing's region nor the new one's box holds: the mean IoU
of its classes, with the true ones on the map, on pictures with those that the segmenter sees before
the edit; and the PSNR of its pixels. Seconds count all that a way needs, of edits one by one.

What is measured goes into a file beside the output (.jsonl) edit by edit. A run that is started
again with the same settings goes on from there.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fgdm
import numpy as np
import torch
from fgdm import Edit, Engine
from fgdm.paste import grown
from fgdm.result import Result
from fgdm.statistics import bootstrap, psnr
from fgdm.train.classes import INDEX, THINGS
from fgdm.train.render import render
from fgdm.train.segmenter import Segmenter, load_segmenter, segment
from fgdm.train.world import Scene, sample_scene
from numpy.typing import NDArray

from benchmarks.command import add_segmenter, engine_options, make_parser
from benchmarks.machine import write_results

FACTOR = "segmentation"
KINDS = ("replace", "remove", "add", "move")
EDITS = 200
#: Seeds of scenes that neither training nor another benchmark draws: of pictures, and of places.
_FIRST_SEED, _FIRST_PLACE = 7_000_000, 7_500_000
_MIN_AREA = 0.002
#: What is to go, and the box of what is to come, are so many times as large: they can be seen.
_VISIBLE = 5 * _MIN_AREA

Labels = NDArray[np.uint8]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Task:
    """One edit of a scene: what shall be there ("": nothing), and what no longer.

    image: (S, S, 3). labels: (S/2, S/2). place: likewise, where the new thing belongs.
    """

    index: int
    kind: str
    image: NDArray[np.uint8]
    labels: Labels
    things: tuple[str, ...]
    add: str
    remove: str
    place: Mask

    @property
    def old(self) -> Mask:
        """Where what is to go is."""
        if not self.remove:
            return np.zeros_like(self.place)
        gone: Mask = self.labels == INDEX[self.remove]
        return gone

    @property
    def prompt(self) -> str:
        """What the edited picture shows."""
        names = [name for name in self.things if name != self.remove]
        names += [self.add] if self.add else []
        return " and ".join(f"a {name}" for name in names) or "an empty scene"

    def edits(self, scale: float) -> list[Edit]:
        """The words of the edit, each where it belongs."""
        made = []
        if self.add:
            made.append(Edit(f"a {self.add}", "+", scale, threshold=0, mask=self.place))
        if self.remove:
            made.append(
                Edit(f"a {self.remove}", "-", scale, threshold=0, mask=self._around(self.old))
            )
        return made

    def image_edits(self, scale: float) -> list[Edit]:
        """The same, with masks of the picture's size."""
        return [
            Edit(one.prompt, one.direction, scale, threshold=0, mask=_doubled(np.asarray(one.mask)))
            for one in self.edits(scale)
        ]

    @staticmethod
    def _around(mask: Mask) -> Mask:
        return grown(mask, 2)  # borders of things are blurred

    @property
    def untouched(self) -> Mask:
        """What the edit has no reason to change."""
        touched: Mask = self._around(self.old) | self.place
        return ~touched


def _doubled(mask: Mask) -> Mask:
    return mask.repeat(2, 0).repeat(2, 1)


def _share(labels: Labels, name: str, where: Mask) -> float:
    return float(((labels == INDEX[name]) & where).mean())


def make_tasks(size: int, every: int) -> list[Task]:
    """Each `every`-th edit of each kind, kinds in turn. size: of the maps."""
    each = EDITS // len(KINDS)
    return [
        _make_task(kind, len(KINDS) * place + number, size)
        for place in range(0, each, every)
        for number, kind in enumerate(KINDS)
    ]


def _make_task(kind: str, index: int, size: int) -> Task:
    for seed in range(_FIRST_SEED + 1000 * index, _FIRST_SEED + 1000 * (index + 1)):
        scene = sample_scene(seed, held_out=True)
        made = render(scene, size)
        everywhere = np.ones((size, size), bool)
        there = [n for n in sorted(scene.things) if _share(made.labels, n, everywhere) >= _VISIBLE]
        absent = [name for name in THINGS if name not in scene.things]
        if not there:
            continue
        rng = np.random.default_rng(seed)
        remove = str(rng.choice(there)) if kind != "add" else ""
        add = remove if kind == "move" else str(rng.choice(absent)) if kind != "remove" else ""
        place = np.zeros((size, size), bool)
        if kind == "replace":
            place = grown(made.labels == INDEX[remove], 2)
        elif kind != "remove":
            box = _free_box(add, scene, made.labels, seed)
            if box is None:
                continue
            place = box
        image = render(scene, 2 * size).image
        return Task(
            index, kind, image, made.labels, tuple(sorted(scene.things)), add, remove, place
        )
    raise RuntimeError(f"no scene for edit {index} ({kind}) within 1000 seeds")


def _free_box(name: str, scene: Scene, labels: Labels, seed: int) -> Mask | None:
    """Where another scene has that thing, and this one has nothing but background."""
    size = len(labels)
    taken = np.isin(labels, [INDEX[thing] for thing in THINGS])
    for other in range(_FIRST_PLACE + seed, _FIRST_PLACE + seed + 60):
        for one in sample_scene(other).instances:
            if one.name != name:
                continue
            left, right = (round(size * (one.x + s * one.width / 2)) for s in (-1, 1))
            top, bottom = (round(size * (one.y + s * one.height / 2)) for s in (-1, 1))
            box = np.zeros((size, size), bool)
            box[max(top, 0) : bottom, max(left, 0) : right] = True
            if box.mean() >= _VISIBLE and not (box & taken).any():
                return box
    return None


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

    def __init__(self, engine: Engine, segmenter: Segmenter, settings: Settings) -> None:
        self._engine, self._segmenter, self._settings = engine, segmenter, settings

    def measure(self, task: Task) -> Iterator[tuple[str, dict[str, Any]]]:
        """Each way with its figures."""
        settings, engine = self._settings, self._engine
        self._before = self._seen(task.image)
        inverting: dict[str, Any] = {
            "steps": settings.steps,
            "skip": settings.skip,
            "seed": task.index,
        }
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

        began = time.perf_counter()
        new_map: Any = {FACTOR: {"map": mask.labels}}
        of_image = engine.invert(
            image=task.image, factors={FACTOR: {"map": task.labels}}, **inverting
        )
        image_edits = task.image_edits(settings.scale)
        pixel = engine.edit(of_image, image_edits, task.prompt, factors=new_map, seed=task.index)
        seconds = map_seconds + time.perf_counter() - began
        yield "pixel", self._judged(task, seconds, pixel.image, mask.labels)

        if (mask.labels != task.labels).any():
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

        began = time.perf_counter()
        alone: dict[str, Any] = {"factors": {FACTOR: None}}
        of_image = engine.invert(image=task.image, **inverting, **alone)
        base = engine.edit(of_image, image_edits, task.prompt, keep=False, seed=task.index, **alone)
        seconds = time.perf_counter() - began
        yield "base", self._judged(task, seconds, base.image, None)

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
            seen, pixels = self._seen(image), _doubled(task.untouched)
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
    came = not task.add or _share(labels, task.add, task.place) >= _MIN_AREA
    left = task.old & ~task.place if task.kind == "move" else np.ones_like(task.old)
    gone = not task.remove or _share(labels, task.remove, left) < _MIN_AREA
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


class Journal:
    """What was measured with the same settings, in a file of lines."""

    def __init__(self, path: Path | None, settings: Mapping[str, Any]) -> None:
        self._path, self._settings = path, json.dumps(settings, sort_keys=True)
        self._done: dict[int, dict[str, Any]] = {}
        if path is not None and path.exists():
            for line in path.read_text().splitlines():
                entry = json.loads(line)
                if entry["settings"] == self._settings:
                    self._done[entry["index"]] = entry["ways"]

    def get(self, index: int) -> dict[str, Any] | None:
        return self._done.get(index)

    def add(self, index: int, ways: dict[str, Any]) -> None:
        self._done[index] = ways
        if self._path is not None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open("a") as file:
                file.write(
                    json.dumps({"settings": self._settings, "index": index, "ways": ways}) + "\n"
                )


def main(arguments: list[str] | None = None) -> int:
    parser = make_parser(__doc__)
    add_segmenter(parser)
    parser.add_argument("--every", type=int, default=1, help="take every n-th edit of each kind")
    parser.add_argument(
        "--minutes", type=float, help="begin no edit after so many; tell what there is"
    )
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
        journal = Journal(given.output and given.output.with_suffix(".jsonl"), keys)
        editor = Editor(engine, load_segmenter(given.segmenter), settings)
        until = time.monotonic() + 60 * (given.minutes or float("inf"))
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
    write_results(given.output, {"runtime": runtime, **vars(settings), "ways": table})
    return 0


if __name__ == "__main__":
    sys.exit(main())
