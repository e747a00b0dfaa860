"""How much of `fgdm evaluate`'s time is neither the engine's nor a network's.

python -m benchmarks.evaluate bundles/scenes --threads 1 --output benchmarks/results/evaluate.json

The command in a process of its own, as a user runs it, on `benchmarks/prompts.json`. Its processor
time has everything from its start on, imports too, and stays a measure where other work disturbs.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.command import make_parser
from benchmarks.machine import write_results

_PROMPTS = Path(__file__).with_name("prompts.json")


def evaluated(arguments: list[str], folder: Path) -> dict[str, Any]:
    """Runs the command; `time` of its results.json, and what the whole process took: seconds, the
    processor's, and the share of the latter that engine and networks didn't have."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    command = ["evaluate", *arguments, "--output", str(folder), "--quiet"]
    program = "import sys; from fgdm.cli.command import main; sys.exit(main())"
    subprocess.run([sys.executable, "-c", program, *command], check=True, stdout=sys.stderr)
    seconds = time.perf_counter() - began
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    processor = sum(getattr(after, k) - getattr(before, k) for k in ("ru_utime", "ru_stime"))
    spent = json.loads((folder / "results.json").read_text())["time"]
    inside = spent["processor"]["engine"] + spent["processor"]["networks"]
    return {
        "time": spent,
        "seconds": seconds,
        "processor": processor,
        "outside_share": 1 - inside / processor,
    }


def main(arguments: list[str] | None = None) -> int:
    parser = make_parser(__doc__)
    parser.add_argument("--every", type=int, default=1, help="take every K-th prompt")
    parser.add_argument("--candidates", type=int, default=10)
    given = parser.parse_args(arguments)
    asked = ["--prompts", str(_PROMPTS), "--every", str(given.every)]
    asked += ["--candidates", str(given.candidates), "--threads", str(given.threads)]
    asked += ["--backend", given.backend, "--precision", given.precision]
    with tempfile.TemporaryDirectory() as folder:
        found = evaluated([str(given.bundle), *asked], Path(folder) / "run")
    prompts = found["time"]["made"]
    spent = found["time"]["processor"]
    outside = found["processor"] - spent["engine"] - spent["networks"]
    print(
        f"{prompts} prompts: {found['processor']:.1f} s of the processor, "
        f"{spent['engine']:.1f} of them in the engine, {spent['networks']:.1f} in networks, "
        f"{outside:.1f} elsewhere: {found['outside_share']:.1%}"
    )
    settings = {"every": given.every, "candidates": given.candidates, "threads": given.threads}
    write_results(given.output, {"prompts": prompts, "settings": settings, **found})
    return 0


if __name__ == "__main__":
    sys.exit(main())
