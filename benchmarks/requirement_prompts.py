"""Held-out prompts with counts and places, and the requirements that their scenes meet in truth.

A scene of things that no training scene has together is sampled; a count and a relation that hold
in it (by its description, not by its map) become the prompt. Four grades: how many, who stands
where, both, and both with a third thing and one that is absent.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from fgdm.train.classes import CLASSES, INDEX, THINGS
from fgdm.train.render import render
from fgdm.train.world import Instance, Scene, sample_scene
from numpy.typing import NDArray

GRADES = (1, 2, 3, 4)
#: Seeds far from every training set and from the prompts that other benchmarks use.
_FIRST_SEED = 19_000_000
_NUMBERS = {2: "two", 3: "three"}
_WORDS = {"left of": "to the left of", "right of": "to the right of"}


@dataclass(frozen=True)
class RequirementPrompt:
    """A prompt, how hard it is, what it requires in the form of `Engine.submit`, and the label map
    (64, 64) of the scene that it was made from."""

    prompt: str
    grade: int
    requirements: dict[str, Any]
    labels: NDArray[np.uint8]


def requirement_prompts(per_grade: int) -> list[RequirementPrompt]:
    """`per_grade` prompts of each grade, easiest first, no two alike."""
    found: dict[int, list[RequirementPrompt]] = {grade: [] for grade in GRADES}
    texts: set[str] = set()
    for prompt in _all_prompts():
        grade = found[prompt.grade]
        if len(grade) < per_grade and prompt.prompt not in texts:
            texts.add(prompt.prompt)
            grade.append(prompt)
        if all(len(prompts) == per_grade for prompts in found.values()):
            break
    return [prompt for grade in GRADES for prompt in found[grade]]


def _all_prompts() -> Iterator[RequirementPrompt]:
    seed = _FIRST_SEED
    while True:
        scene = sample_scene(seed, held_out=True, flat=False)
        rng = np.random.default_rng((seed, 3))
        seed += 1
        yield from _prompts(scene, rng)


def _prompts(scene: Scene, rng: np.random.Generator) -> Iterator[RequirementPrompt]:
    groups: dict[str, list[Instance]] = {}
    for item in scene.instances:
        groups.setdefault(item.name, []).append(item)
    names = sorted(groups)
    rng.shuffle(names)
    if any(len(group) > max(_NUMBERS) for group in groups.values()):
        return
    several = [name for name in names if len(groups[name]) > 1]
    if len(names) == 2:
        if several:
            yield _prompt(scene, 1, groups, names, None, None)
        relation = _relation(groups[names[0]], groups[names[1]], rng)
        if relation is not None:
            yield _prompt(scene, 3 if several else 2, groups, names, relation, None)
    if len(names) == 3 and several:
        relation = _relation(groups[names[0]], groups[names[1]], rng)
        absent = str(rng.choice([name for name in THINGS if name not in groups]))
        if relation is not None:
            yield _prompt(scene, 4, groups, names, relation, absent)


def _relation(a: list[Instance], b: list[Instance], rng: np.random.Generator) -> str | None:
    """A relation that every one of `a` has to every one of `b` in the scene's own description, as
    the captions of the training set mean it; None if there is none."""
    shared = set.intersection(*(_holding(p, q) for p in a for q in b))
    return str(rng.choice(sorted(shared))) if shared else None


def _holding(p: Instance, q: Instance) -> set[str]:
    dx, dy = p.x - q.x, p.y - q.y
    apart = abs(dx) > 0.5 * (p.width + q.width)
    found = set()
    if apart:
        found.add("left of" if dx < 0 else "right of")
        near = abs(dx) < 0.5 * (p.width + q.width) + max(p.width, q.width)
        if near and abs(p.base - q.base) < 0.16:
            found.add("beside")
    if abs(dx) < 0.5 * max(p.width, q.width):
        if dy < -0.18 and p.base < q.y:
            found.add("above")
        elif p.base > q.base + 0.03:
            found.add("in front of")
        elif p.base < q.base - 0.03:
            found.add("behind")
    return found


def _prompt(
    scene: Scene,
    grade: int,
    groups: dict[str, list[Instance]],
    names: list[str],
    relation: str | None,
    absent: str | None,
) -> RequirementPrompt:
    phrases = [_phrase(name, len(groups[name])) for name in names]
    text = phrases[0]
    if relation is not None:
        text += f" {_WORDS.get(relation, relation)} {phrases[1]}"
    elif len(phrases) == 2:
        text += f" and {phrases[1]}"
    for phrase in phrases[2:]:
        text += f", {phrase}"
    text += f", no {CLASSES[INDEX[absent]].plural}" if absent else ""
    counts = {name: len(groups[name]) for name in names if len(groups[name]) > 1}
    return RequirementPrompt(
        prompt=text,
        grade=grade,
        requirements={
            "objects": [
                {"class": name, "count": counts[name]} if name in counts else name for name in names
            ],
            "relations": [{"subject": names[0], "relation": relation, "object": names[1]}]
            if relation is not None
            else [],
            "absent": [absent] if absent else [],
        },
        labels=render(scene, 64).labels,
    )


def _phrase(name: str, count: int) -> str:
    if count > 1:
        return f"{_NUMBERS[count]} {CLASSES[INDEX[name]].plural}"
    if name == "sun":
        return "the sun"
    return f"{'an' if name[0] in 'aeiou' else 'a'} {name}"
