"""What pruning, stopping and waves save, and what they cost in recall, on the held-out prompts.

Every candidate of every prompt is sampled to its end once, and looked at after every step; each
setting is then played through on what was seen, by the engine's own rules.

python -m benchmarks.savings bundles/scenes --every 4 --output benchmarks/results/savings.json
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from fgdm import Engine
from fgdm._core import Selection, select_map
from fgdm.train.classes import CLASSES, INDEX
from fgdm.train.figures import MIN_AREA
from numpy.typing import NDArray

from benchmarks.command import add_prompts, chosen_prompts, engine_options, make_parser
from benchmarks.machine import write_results


@dataclass(frozen=True)
class Seen:
    """A prompt's candidates after each step: (steps, candidates) arrays."""

    recall: NDArray[np.float64]
    smallest_area: NDArray[np.float64]

    def maps(self, step: int, candidates: Sequence[int]) -> list[tuple[float, float]]:
        """What selection goes by, after `step` steps."""
        recall, area = self.recall[step - 1], self.smallest_area[step - 1]
        return [(float(recall[i]), float(area[i])) for i in candidates]


@dataclass(frozen=True)
class Setting:
    """The request's options of the same names."""

    prune: tuple[int, ...] = ()
    stop_at_recall: float | None = None
    wave: int = 0

    @property
    def name(self) -> str:
        """As one would write it."""
        parts = [f"prune={list(self.prune)}"] if self.prune else []
        parts += [f"stop_at_recall={self.stop_at_recall}"] if self.stop_at_recall else []
        return ", ".join(parts + ([f"wave={self.wave}"] if self.wave else [])) or "everything"


def play(seen: Seen, setting: Setting) -> tuple[float, int, int]:
    """The kept map's recall, candidate steps taken, and previews decoded."""
    steps, candidates = seen.recall.shape
    selection = Selection(
        candidates=candidates,
        steps=steps,
        prune=setting.prune,
        stop_at_recall=setting.stop_at_recall or 0.0,
        wave=setting.wave,
    )
    steps_of = [0] * candidates
    previews = 0
    finished: list[int] = []
    while not selection.done:
        sampling, until = selection.sampling, selection.until
        for candidate in sampling:
            steps_of[candidate] = until
        if until == steps:
            finished += sampling
        elif selection.looks:
            previews += len(sampling)
        selection.seen(seen.maps(until, sampling) if selection.looks else [])
    best = finished[select_map(seen.maps(steps, finished))]
    return float(seen.recall[-1, best]), sum(steps_of), previews


def look_at(
    engine: Engine, tolerance: int, prompt: str, things: list[str], seed: int, steps: int
) -> Seen:
    """Samples ten maps and measures every step's predicted maps."""
    colors = np.array([entry.color for entry in CLASSES], np.int16)
    wanted = [INDEX[thing] for thing in things]
    recall, smallest = np.zeros((2, steps, 10))

    def measure(step: int, candidate: int, picture: NDArray[np.uint8]) -> None:
        far = np.abs(picture[:, :, None].astype(np.int16) - colors).max(-1)
        labels = np.where(far.min(-1) <= tolerance, far.argmin(-1), 255)
        areas = np.array([(labels == index).mean() for index in wanted])
        found = (areas >= MIN_AREA) & (areas > 0)
        recall[step, candidate] = found.mean()
        smallest[step, candidate] = areas[found].min() if found.any() else 0.0

    def watch(info: Any) -> None:
        if info.factor == "segmentation":
            for candidate in info.candidates:
                measure(info.step, candidate, info.preview(candidate))

    engine.generate(
        prompt,
        objects=things,
        seed=seed,
        condition_steps=steps,
        stop_at_recall=0.0,
        num_inference_steps=1,
        guidance="cfg",
        min_area=MIN_AREA,
        step_callback=watch,
    )
    return Seen(recall, smallest)


def settings(steps: int) -> list[Setting]:
    """What is compared, for maps of so many steps."""

    def at(*tenths: int) -> tuple[int, ...]:
        return tuple(max(1, steps * tenth // 10) for tenth in tenths)

    prunings = [at(3), at(4), at(5), at(6), at(3, 6), at(4, 7), at(5, 8), at(4, 6, 8), at(2, 4, 6)]
    return [
        Setting(),
        *(Setting(prune=prune) for prune in prunings),
        Setting(stop_at_recall=1.0),
        *(Setting(stop_at_recall=1.0, wave=wave) for wave in (1, 2, 4)),
        *(Setting(at(4, 7), 1.0, wave) for wave in (0, 4)),
    ]


def main() -> int:
    """Look, play, print."""
    parser = make_parser(__doc__)
    add_prompts(parser)
    parser.add_argument("--steps", type=int, default=10)
    args = parser.parse_args()
    prompts = chosen_prompts(args)
    tolerance = int(json.loads((args.bundle / "palette.json").read_text())["tolerance"])
    everything: list[Seen] = []
    with Engine(args.bundle, **engine_options(args)) as engine:
        for i, prompt in enumerate(prompts):
            seen = look_at(
                engine, tolerance, prompt.prompt, prompt.things, i * args.every, args.steps
            )
            everything.append(seen)
            if (i + 1) % 10 == 0:
                print(f"{i + 1}/{len(prompts)} prompts", file=sys.stderr, flush=True)
    rows: dict[str, dict[str, float]] = {}
    full = np.mean([play(seen, Setting())[0] for seen in everything])
    for setting in settings(args.steps):
        recalls, taken, previews = zip(*(play(seen, setting) for seen in everything), strict=True)
        saved = 1 - np.mean(taken) / (10 * args.steps)
        rows[setting.name] = {
            "recall": float(np.mean(recalls)),
            "lost": float(full - np.mean(recalls)),
            "rows_saved": float(saved),
            "previews": float(np.mean(previews)),
        }
        print(
            f"{setting.name:48} recall {np.mean(recalls):.3f}  rows saved {saved:6.1%}  "
            f"previews {np.mean(previews):5.1f}"
        )
    write_results(args.output, {"prompts": len(prompts), "steps": args.steps, "settings": rows})
    return 0


if __name__ == "__main__":
    sys.exit(main())
