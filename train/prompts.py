"""The held-out prompts: graded difficulty, 1 to 8 things, nothing shared with training."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from .captions import caption
from .world import sample_scene

#: Seeds far from every training set.
_FIRST_SEED = 9_000_000


@dataclass(frozen=True)
class HeldOutPrompt:
    """A caption of a scene whose combination of things no training scene has, and those things."""

    prompt: str
    things: list[str]


def held_out_prompts(per_level: int = 25, levels: int = 8) -> list[HeldOutPrompt]:
    """`per_level` prompts for each number of things from 1 to `levels`, easiest first."""
    found: dict[int, list[HeldOutPrompt]] = {level: [] for level in range(1, levels + 1)}
    texts: set[str] = set()
    seed = _FIRST_SEED
    while any(len(prompts) < per_level for prompts in found.values()):
        scene = sample_scene(seed, held_out=True, flat=False)
        seed += 1
        text = caption(scene)
        prompts = found[len(scene.things)]
        if len(prompts) < per_level and text not in texts:
            texts.add(text)
            prompts.append(HeldOutPrompt(text, sorted(scene.things)))
    return [prompt for level in sorted(found) for prompt in found[level]]


def load_prompts(path: Path) -> list[HeldOutPrompt]:
    return [HeldOutPrompt(**entry) for entry in json.loads(path.read_text())]
