"""From which area on a map is a thing painted? The least that is: what `min_area` should be.

python -m benchmarks.paintable bundles/scenes --output benchmarks/results/paintable.json

Every prompt's first map is painted, whatever it holds, and the bundle's segmenter looks at the
picture.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from fgdm import Engine
from fgdm.train.figures import MIN_AREA
from fgdm.train.prompts import HeldOutPrompt

from benchmarks.command import add_prompts, chosen_prompts, engine_options, make_parser
from benchmarks.machine import write_results

#: Fractions of the map between which things are counted together.
EDGES = (0.0, 0.002, 0.004, 0.006, 0.008, 0.012, 0.016, 0.024, 0.04, 1.0)


@dataclass(frozen=True)
class Thing:
    """A requested thing: the fraction of the map that it covers, and whether the picture has it."""

    area: float
    painted: bool


def look(engine: Engine, prompt: HeldOutPrompt, seed: int) -> list[Thing]:
    """The prompt's things on its first map, and on what is painted from it."""
    result = engine.generate(
        prompt.prompt, objects=[], candidates=1, stop_at_recall=0.0, wave=0, seed=seed
    )
    seen = engine.segment(result.image)
    indices = [engine.classes.index(name) for name in prompt.things]
    return [
        Thing(float((result.labels == i).mean()), bool((seen == i).mean() >= MIN_AREA))
        for i in indices
    ]


def by_area(things: Sequence[Thing]) -> list[dict[str, Any]]:
    """Of the things between two edges, how many there are and the share that was painted."""
    table = []
    for low, high in pairwise(EDGES):
        painted = [t.painted for t in things if low <= t.area < high or t.area == high == EDGES[-1]]
        share = float(np.mean(painted)) if painted else None
        table.append({"from": low, "to": high, "things": len(painted), "painted": share})
    return table


def main(arguments: list[str] | None = None) -> int:
    parser = make_parser(__doc__)
    add_prompts(parser)
    given = parser.parse_args(arguments)
    prompts = chosen_prompts(given)
    things: list[Thing] = []
    with Engine(given.bundle, **engine_options(given)) as engine:
        for i, prompt in enumerate(prompts):
            things += look(engine, prompt, seed=i)
            print(f"prompt {i + 1}/{len(prompts)}", file=sys.stderr, flush=True)
    table = by_area(things)
    print(f"{len(prompts)} prompts, {len(things)} things\n{'of the map':<16}things  painted")
    for row in table:
        share = f"{row['painted']:.0%}" if row["painted"] is not None else "-"
        print(f"{row['from']:.3f} to {row['to']:.3f}{row['things']:8}{share:>9}")
    write_results(given.output, {"prompts": len(prompts), "by_area": table})
    return 0


if __name__ == "__main__":
    sys.exit(main())
