"""How long a bundle takes to open, with and without compiled contexts.

python -m benchmarks.contexts bundles/scenes --backend openvino
python -m benchmarks.contexts bundles/sd15 --backend tensorrt-rtx

Every opening is a process of its own that loads nothing but the engine, and makes one picture in
the fewest steps. Ways take turns: without contexts, with none yet, with those that were kept.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.command import PROMPT, engine_options, make_parser
from benchmarks.machine import write_results

#: In the order in which they take turns; "first" leaves what "kept" finds.
WAYS = ("off", "first", "kept")

#: Seconds of the clock and of processors, to open a bundle and to make the first picture.
_OPEN = """
import json, resource, sys, time
from fgdm import Engine
bundle, options, request = sys.argv[1], *map(json.loads, sys.argv[2:])
begun, worked = time.monotonic(), time.process_time()
with Engine(bundle, **options) as engine:
    opened, work = time.monotonic() - begun, time.process_time() - worked
    begun = time.monotonic()
    picture = engine.generate(**request).image.tobytes()
    first = time.monotonic() - begun
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    notes = [note for note in engine.notes if "context" in note]
    runtime = engine.info.runtime
import hashlib
print(json.dumps({"open_seconds": opened, "open_processor_seconds": work, "first_seconds": first,
    "peak_mb": peak, "notes": notes, "runtime": runtime,
    "picture": hashlib.sha256(picture).hexdigest()}))
"""


def open_once(bundle: Path, options: dict[str, Any]) -> dict[str, Any]:
    """What one process found."""
    request = {"prompt": PROMPT, "seed": 1, "candidates": 1, "condition_steps": 1}
    request["num_inference_steps"] = 1
    command = [sys.executable, "-c", _OPEN, str(bundle), json.dumps(options), json.dumps(request)]
    printed = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    found: dict[str, Any] = json.loads(printed.splitlines()[-1])
    if found["notes"]:
        raise SystemExit(f"benchmarks.contexts: {'; '.join(found['notes'])}")
    return found


def compare(bundle: Path, engine: dict[str, Any], rounds: int) -> dict[str, Any]:
    """By way: medians of the seconds and the memory; bytes of the contexts. SystemExit where
    contexts can't be kept, or where a picture differs."""
    runs: dict[str, list[dict[str, Any]]] = {way: [] for way in WAYS}
    size = 0
    for turn in range(rounds):
        with tempfile.TemporaryDirectory() as folder:
            for way in WAYS:
                contexts = "off" if way == "off" else folder
                found = open_once(bundle, {**engine, "contexts": contexts})
                runs[way].append(found)
                print(f"round {turn}, {way}: {found['open_seconds']:.2f} s", file=sys.stderr)
            size = sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file())
    if len({run["picture"] for taken in runs.values() for run in taken}) > 1:
        raise SystemExit("benchmarks.contexts: pictures differ with and without contexts")
    names = ("open_seconds", "open_processor_seconds", "first_seconds", "peak_mb")
    ways = {
        way: {name: statistics.median(run[name] for run in taken) for name in names}
        for way, taken in runs.items()
    }
    runtime = runs["off"][0]["runtime"]
    return {"runtime": runtime, "rounds": rounds, "bytes": size, "ways": ways}


def show(results: dict[str, Any]) -> None:
    """A line for each way."""
    print(f"{results['runtime']}; contexts of {results['bytes'] / 1e6:.0f} MB")
    print(f"{'':<8}{'open, s':>10}{'of processors':>15}{'first picture':>15}{'peak, MB':>10}")
    for way, found in results["ways"].items():
        times = (found["open_seconds"], found["open_processor_seconds"], found["first_seconds"])
        print(f"{way:<8}{times[0]:10.2f}{times[1]:15.2f}{times[2]:15.2f}{found['peak_mb']:10.0f}")


def main(arguments: list[str] | None = None) -> int:
    parser = make_parser(__doc__)
    parser.set_defaults(backend="openvino")
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args(arguments)
    results = compare(given.bundle, engine_options(given), given.rounds)
    show(results)
    write_results(given.output, results)
    return 0


if __name__ == "__main__":
    sys.exit(main())
