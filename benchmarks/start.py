"""How long an engine takes to open, and the command line to say its first word, in new processes.

python -m benchmarks.start bundles/scenes --output benchmarks/results/start.json
python -m benchmarks.start bundles/scenes --beside OTHER/bin/python     # another installation

Each round is a process of each; installations take turns. Processor time is that of all threads.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.command import make_parser
from benchmarks.machine import write_results
from benchmarks.statistics import summary

_OPEN = """
import os, sys, time
from fgdm import Engine
wall, spent = time.perf_counter(), time.process_time()
engine = Engine(sys.argv[1], threads=int(sys.argv[2]))
print(time.perf_counter() - wall, time.process_time() - spent, flush=True)
os._exit(0)
"""


def open_engine(python: str, bundle: Path, threads: int) -> tuple[float, float]:
    """Wall and processor seconds of opening, imports left out."""
    command = [python, "-c", _OPEN, str(bundle.resolve()), str(threads)]
    printed = subprocess.run(command, capture_output=True, text=True, check=True, cwd="/").stdout
    wall, spent = map(float, printed.split())
    return wall, spent


def first_output(python: str, bundle: Path) -> tuple[float, float]:
    """Wall and processor seconds until ``fgdm generate`` writes its first byte, Python included."""
    command = [python, "-m", "fgdm", "generate", "a dog", "--bundle", str(bundle.resolve())]
    began = time.perf_counter()
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd="/tmp"
    ) as process:
        assert process.stdout is not None
        os.read(process.stdout.fileno(), 1)
        wall = time.perf_counter() - began
        fields = Path(f"/proc/{process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        process.kill()
    ticks = int(fields[11]) + int(fields[12])
    return wall, ticks / os.sysconf("SC_CLK_TCK")


def main() -> int:
    """Measures in turns, prints."""
    parser = make_parser(__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--beside", help="the Python of another installation")
    given = parser.parse_args()
    pythons = {"this": sys.executable, **({"other": given.beside} if given.beside else {})}
    taken: dict[str, dict[str, list[tuple[float, float]]]] = {
        name: {"open": [], "first output": []} for name in pythons
    }
    for _ in range(given.rounds):
        for name, python in pythons.items():
            taken[name]["open"].append(open_engine(python, given.bundle, given.threads))
            taken[name]["first output"].append(first_output(python, given.bundle))
    results: dict[str, Any] = {}
    for name, kinds in taken.items():
        for kind, pairs in kinds.items():
            walls, spent = zip(*pairs, strict=True)
            of = {"wall": summary(walls), "processor": summary(spent)}
            results.setdefault(name, {})[kind] = of
            said = ", ".join(
                f"{clock} {found['median']:.2f} s (least {found['min']:.2f})"
                for clock, found in of.items()
            )
            print(f"{name:<6}{kind:<14}{said}")
    options = {"rounds": given.rounds, "threads": given.threads}
    write_results(given.output, {"options": options, "installations": results})
    return 0


if __name__ == "__main__":
    sys.exit(main())
