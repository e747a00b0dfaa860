"""What sampling two maps jointly costs, beside one after the other, at equal steps.

python -m benchmarks.joint_pair bundles/scenes --threads 1

One candidate of each, so that both ways run the same rows: sequentially the second map follows the
chosen one alone. Processor time, in turns.
"""

from __future__ import annotations

import sys
import time

from fgdm import Engine
from fgdm.statistics import paired_ratio

from benchmarks.command import PROMPT, engine_options, make_parser
from benchmarks.machine import write_results

PAIR = ("segmentation", "depth")


def seconds(engine: Engine, joint: bool, steps: int, seed: int) -> float:
    """Processor seconds of a request: two maps, and one step of the picture."""
    began = time.process_time()
    engine.generate(
        PROMPT,
        seed=seed,
        candidates=1,
        condition_steps=steps,
        stop_at_recall=0.0,
        num_inference_steps=1,
        factors={name: {"condition_steps": steps} for name in PAIR},
        joint=list(PAIR) if joint else [],
    )
    return time.process_time() - began


def main(arguments: list[str] | None = None) -> int:
    parser = make_parser(__doc__)
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--steps", type=int, default=10)
    given = parser.parse_args(arguments)
    taken: dict[bool, list[float]] = {False: [], True: []}
    with Engine(given.bundle, **engine_options(given)) as engine:
        for turn in range(given.rounds + 1):
            for joint in (False, True) if turn % 2 else (True, False):
                spent = seconds(engine, joint, given.steps, turn)
                if turn:  # the first warms up
                    taken[joint].append(spent)
        runtime = engine.info.runtime
    ratio = paired_ratio(taken[True], taken[False])
    print(f"{runtime}: joint takes {ratio.estimate:.3f} [{ratio.low:.3f}, {ratio.high:.3f}]")
    found = {"settings": {"steps": given.steps, "rounds": given.rounds}, "runtime": runtime}
    write_results(given.output, {**found, "joint_over_sequential": ratio.to_json()})
    return 0


if __name__ == "__main__":
    sys.exit(main())
