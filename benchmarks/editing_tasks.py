"""Edits of held-out scenes of the procedural world, whose truth is known."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from fgdm import Edit
from fgdm.paste import grown
from fgdm.train.classes import INDEX, THINGS
from fgdm.train.render import render
from fgdm.train.world import Scene, sample_scene
from numpy.typing import NDArray

KINDS = ("replace", "remove", "add", "move")
EDITS = 200
#: Seeds of scenes that neither training nor another benchmark draws: of pictures, and of places.
_FIRST_SEED, _FIRST_PLACE = 7_000_000, 7_500_000
#: A thing of this share of the map is there.
MIN_AREA = 0.002
#: What is to go, and the box of what is to come, are so many times as large: they can be seen.
_VISIBLE = 5 * MIN_AREA

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
            Edit(one.prompt, one.direction, scale, threshold=0, mask=doubled(np.asarray(one.mask)))
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


def doubled(mask: Mask) -> Mask:
    return mask.repeat(2, 0).repeat(2, 1)


def share(labels: Labels, name: str, where: Mask) -> float:
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
        there = [n for n in sorted(scene.things) if share(made.labels, n, everywhere) >= _VISIBLE]
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
