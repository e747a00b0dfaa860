"""Says a scene in words: what it holds, how many, what stands where, on what ground."""

from __future__ import annotations

import itertools

import numpy as np

from .classes import CLASSES, INDEX
from .shapes import SHAPES
from .world import Instance, Scene

_NUMBERS = {1: "a", 2: "two", 3: "three", 4: "four"}
_GROUND_PHRASES = {
    "grass": ("on the grass", "on a green lawn", "in a meadow", "on grass"),
    "sand": ("on the sand", "on a beach", "on sand"),
    "road": ("on a road", "in the street", "on the road"),
    "snow": ("in the snow", "on snow", "in winter snow"),
}
_PHOTO_OPENINGS = ("", "", "", "a photo of ", "a picture of ", "a scene with ", "there is ")
_FLAT_OPENINGS = ("a drawing of ", "a flat drawing of ", "an illustration of ")


def _noun(name: str, count: int, rng: np.random.Generator) -> str:
    entry = CLASSES[INDEX[name]]
    if count > 1:
        return entry.plural
    if entry.synonyms and rng.random() < 0.12:
        return str(rng.choice(entry.synonyms))
    return entry.name


def _phrase(name: str, group: list[Instance], rng: np.random.Generator) -> str:
    count = len(group)
    noun = _noun(name, count, rng)
    paints = {item.paint for item in group}
    adjective = ""
    if len(paints) == 1 and SHAPES[name].paints and rng.random() < 0.35:
        adjective = paints.pop() + " "
    if count == 1:
        if name == "sun" and not adjective:
            return "the sun"
        article = "an" if (adjective or noun)[0] in "aeiou" else "a"
        return f"{article} {adjective}{noun}"
    return f"{_NUMBERS.get(count, 'several')} {adjective}{noun}"


def _relation(a: list[Instance], b: list[Instance], rng: np.random.Generator) -> str:
    """A true statement about where `a` is from `b`, for single things; else a plain joiner."""
    if len(a) != 1 or len(b) != 1 or rng.random() < 0.25:
        return "and"
    p, q = a[0], b[0]
    dx, dy = p.x - q.x, p.y - q.y
    options: list[str] = []
    beside = abs(dx) > 0.45 * (p.width + q.width) and abs(p.base - q.base) < 0.16
    if beside:
        options += ["beside", "next to"]
    if abs(dx) > 0.5 * (p.width + q.width):
        options += ["to the left of" if dx < 0 else "to the right of"]
    if abs(dx) < 0.5 * max(p.width, q.width):
        if dy < -0.18 and p.base < q.y:
            options += ["above", "over"]
        elif dy > 0.18 and p.y - p.height / 2 > q.y:
            options += ["under", "below"]
        elif p.base > q.base + 0.03:
            options += ["in front of"]
        elif p.base < q.base - 0.03:
            options += ["behind"]
    return str(rng.choice(options)) if options else "and"


def caption(scene: Scene, variant: int = 0) -> str:
    """One of many captions of a scene; `variant` chooses the wording.

    Every thing class of the scene is named; grounds and the like are named most of the time.
    """
    rng = np.random.default_rng((scene.seed, variant, 7))
    groups: dict[str, list[Instance]] = {}
    for item in scene.instances:
        groups.setdefault(item.name, []).append(item)
    names = list(groups)
    rng.shuffle(names)

    text = _phrase(names[0], groups[names[0]], rng)
    listing = len(names) > 3 and rng.random() < 0.5
    for i, (before, name) in enumerate(itertools.pairwise(names)):
        phrase = _phrase(name, groups[name], rng)
        if listing:
            text += (" and " if i == len(names) - 2 else ", ") + phrase
        else:
            text += f" {_relation(groups[before], groups[name], rng)} {phrase}"

    if rng.random() < 0.6:
        text += " " + str(rng.choice(_GROUND_PHRASES[scene.ground]))
    extras = []
    if scene.mountains and rng.random() < 0.6:
        extras.append("a mountain" if len(scene.mountains) == 1 else "mountains")
    if scene.shore > scene.horizon and rng.random() < 0.6:
        extras.append("the sea")
    if extras:
        text += " with " + " and ".join(extras)
    if scene.dusk > 0.5 and rng.random() < 0.7:
        text += " at sunset"
    elif rng.random() < 0.12:
        text += " under a blue sky" if scene.dusk < 0.2 else ""
    openings = _FLAT_OPENINGS if scene.flat else _PHOTO_OPENINGS
    return str(rng.choice(openings)) + text
