"""A procedural world: scenes as data, sampled from a seed.

A `Scene` is a description (what stands where, under which light); `render.py` draws it at any
resolution and `captions.py` says it in words. Everything derives from the seed, so a data set is a
range of integers.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np

from .classes import THINGS
from .shapes import PAINTS, SHAPES

#: How often a scene asks for 1, 2, … 8 different things.
THING_COUNT_WEIGHTS = (0.10, 0.14, 0.16, 0.17, 0.16, 0.13, 0.08, 0.06)
MAX_INSTANCES = 9
_GROUNDS = ("grass", "sand", "road", "snow")


@dataclass(frozen=True)
class Instance:
    """One thing in a scene. Centre and size are fractions of the picture."""

    name: str
    x: float
    y: float
    width: float
    height: float
    mirrored: bool
    paint: str
    texture_seed: int

    @property
    def base(self) -> float:
        return self.y + self.height / 2


@dataclass(frozen=True)
class Scene:
    """A whole scene. ``instances`` are ordered back to front; heights count from the top."""

    seed: int
    horizon: float
    shore: float  # bottom of the strip of sea; equal to the horizon where there is none
    ground: str
    mountains: tuple[tuple[float, float, float], ...]  # (x, half width, height)
    light: tuple[float, float]
    dusk: float
    flat: bool  # drawn without texture or shading: an illustration instead of a photograph
    instances: tuple[Instance, ...]

    @property
    def things(self) -> frozenset[str]:
        return frozenset(instance.name for instance in self.instances)


def is_held_out(things: frozenset[str]) -> bool:
    """Whether this combination of things is kept from training (one combination in eight)."""
    digest = hashlib.sha256(",".join(sorted(things)).encode()).digest()
    return digest[0] % 8 == 0


def sample_scene(
    seed: int,
    things: tuple[str, ...] | None = None,
    held_out: bool = False,
    flat: bool | None = None,
) -> Scene:
    """The scene of a seed.

    things: the things it must hold; drawn at random where None, from the training combinations, or
    from the held-out ones where `held_out`.
    flat: force (or forbid) the illustration style.
    """
    rng = np.random.default_rng(seed)
    while things is None:
        count = int(rng.choice(len(THING_COUNT_WEIGHTS), p=THING_COUNT_WEIGHTS)) + 1
        drawn = tuple(str(name) for name in rng.choice(THINGS, size=count, replace=False))
        if is_held_out(frozenset(drawn)) == held_out:
            things = drawn
    wanted = list(things)
    spare = MAX_INSTANCES - 2 - len(wanted)
    for name in things:  # some things come in twos and threes
        if spare > 0 and name not in ("sun",) and rng.random() < 0.22:
            extra = int(rng.integers(1, min(2, spare) + 1))
            wanted += [name] * extra
            spare -= extra

    horizon = float(rng.uniform(0.40, 0.56))
    has_sea = any(SHAPES[name].habitat == "sea" for name in wanted) or rng.random() < 0.2
    shore = horizon + float(rng.uniform(0.14, 0.20)) if has_sea else horizon
    mountains: tuple[tuple[float, float, float], ...] = ()
    if rng.random() < 0.3:
        mountains = tuple(
            (float(rng.uniform(0, 1)), float(rng.uniform(0.2, 0.4)), float(rng.uniform(0.12, 0.28)))
            for _ in range(int(rng.integers(1, 4)))
        )
    instances = _place(wanted, horizon, shore, rng)
    return Scene(
        seed=seed,
        horizon=horizon,
        shore=shore,
        ground=str(rng.choice(_GROUNDS, p=(0.4, 0.25, 0.2, 0.15))),
        mountains=mountains,
        light=(
            float(rng.choice((-1.0, 1.0)) * rng.uniform(0.4, 0.9)),
            float(rng.uniform(-0.9, -0.5)),
        ),
        dusk=float(max(0.0, rng.normal(0.0, 0.35))) if rng.random() < 0.6 else 0.0,
        flat=bool(rng.random() < 0.25) if flat is None else flat,
        instances=instances,
    )


def _place(
    wanted: list[str], horizon: float, shore: float, rng: np.random.Generator
) -> tuple[Instance, ...]:
    """Put things where they live, large ones first, each where it is covered least."""
    crowding = {1: 1.30, 2: 1.22, 3: 1.12, 4: 1.05, 5: 1.0, 6: 0.95}.get(len(wanted), 0.88)
    wanted = sorted(wanted, key=lambda name: -SHAPES[name].size[0] * SHAPES[name].size[1])
    placed: list[Instance] = []
    for name in wanted:
        best, best_overlap = None, np.inf
        for _ in range(24):
            candidate = _propose(name, crowding, horizon, shore, rng)
            overlap = max((_overlap(candidate, other) for other in placed), default=0.0)
            if overlap < best_overlap - 1e-9:
                best, best_overlap = candidate, overlap
            if best_overlap <= 0.12 * rng.random():
                break
        assert best is not None
        placed.append(best)
    in_sky = [i for i in placed if SHAPES[i.name].habitat == "sky"]
    below = [i for i in placed if SHAPES[i.name].habitat != "sky"]
    order = {"sun": 0, "cloud": 1, "kite": 2, "bird": 3}
    in_sky.sort(key=lambda i: order[i.name])
    below.sort(key=lambda i: i.base)
    return tuple(in_sky + below)


def _propose(
    name: str, crowding: float, horizon: float, shore: float, rng: np.random.Generator
) -> Instance:
    shape = SHAPES[name]
    scale = crowding * float(rng.uniform(0.88, 1.12))
    if shape.habitat == "ground":
        base = float(rng.uniform(max(shore + 0.10, 0.66), 0.98))
        scale *= 0.62 + 0.45 * (base - shore) / (1.0 - shore)
        width, height = shape.size[0] * scale, shape.size[1] * scale
        y = base - height / 2
    elif shape.habitat == "sea":
        base = float(rng.uniform(horizon + 0.08, shore - 0.02))
        scale *= 0.9
        width, height = shape.size[0] * scale, shape.size[1] * scale
        y = base - height / 2
    else:
        scale *= 0.9
        width, height = shape.size[0] * scale, shape.size[1] * scale
        y = float(
            rng.uniform(height / 2 + 0.01, max(height / 2 + 0.02, horizon - height / 2 - 0.03))
        )
    x = float(rng.uniform(width / 2 * 0.9, 1 - width / 2 * 0.9))
    return Instance(
        name=name,
        x=x,
        y=y,
        width=width,
        height=height,
        mirrored=bool(rng.random() < 0.5),
        paint=str(rng.choice(shape.paints)) if shape.paints else "",
        texture_seed=int(rng.integers(1 << 30)),
    )


def _overlap(a: Instance, b: Instance) -> float:
    """Intersection of two boxes over the smaller one's area."""
    dx = min(a.x + a.width / 2, b.x + b.width / 2) - max(a.x - a.width / 2, b.x - b.width / 2)
    dy = min(a.y + a.height / 2, b.y + b.height / 2) - max(a.y - a.height / 2, b.y - b.height / 2)
    if dx <= 0 or dy <= 0:
        return 0.0
    return dx * dy / min(a.width * a.height, b.width * b.height)


def paint_rgb(instance: Instance) -> dict[str, tuple[float, float, float]]:
    """The instance's named colours: ``paint`` as captions name it, ``paint2`` a contrasting one."""
    if not instance.paint:
        return {}
    names = list(PAINTS)
    second = names[(names.index(instance.paint) + 2) % len(names)]
    return {"paint": PAINTS[instance.paint], "paint2": PAINTS[second]}
