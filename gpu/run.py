"""Runs stages on this machine, each within its limits, and writes every result at once.

python -m gpu.run --results benchmarks/results/NAME.json [STAGE ...]
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.machine import describe_machine
from gpu.random_weights import strip
from gpu.stages import Command, Place, Stage, stages

#: Characters of a program's output that its result keeps.
_TAIL = 2000
_EXAMPLES = """\
examples:
  gpu/run.sh                      # every stage, in order of worth
  gpu/run.sh kernels engine       # these two
  gpu/run.sh --rehearse           # the same programs on a CPU, with little work
"""


def run_command(command: Command, log: Path) -> dict[str, Any]:
    """Runs one program to its end or its limit; what became of it.

    outcome: "passed", "failed", "too long", or "cut off" where the limit may end it. A program that
    can't be started has failed.
    """
    began = time.monotonic()
    if command.output is not None:
        command.output.unlink(missing_ok=True)
    with log.open("wb") as output:
        try:
            process = subprocess.Popen(
                command.arguments,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        except OSError as error:
            output.write(str(error).encode())
            process = None
        outcome = _outcome(command, process)
    text = log.read_text(encoding="utf-8", errors="replace")
    return {
        "outcome": outcome,
        "seconds": round(time.monotonic() - began, 2),
        "limit": command.limit,
        "command": list(command.arguments),
        "figures": _figures(command.output),
        "output": text[-_TAIL:],
    }


def _outcome(command: Command, process: subprocess.Popen[bytes] | None) -> str:
    if process is None:
        return "failed"
    try:
        return "passed" if process.wait(command.limit) == 0 else "failed"
    except subprocess.TimeoutExpired:
        return "cut off" if command.partial else "too long"
    finally:
        _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ends what is left of a program and of all that it started."""
    for number, patience in ((signal.SIGTERM, 5.0), (signal.SIGKILL, 5.0)):
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            break
        try:
            process.wait(patience)
        except subprocess.TimeoutExpired:
            continue


def _figures(output: Path | None) -> Any:
    """What a program wrote; None where it wrote nothing that can be read."""
    if output is None or not output.is_file():
        return None
    try:
        return json.loads(output.read_text(encoding="utf-8"))
    except ValueError:
        return None


def run_stages(chosen: Sequence[Stage], results: Path, work: Path) -> dict[str, Any]:
    """Runs the stages and rewrites `results` after every program, so that an end at any moment
    keeps what was measured. Earlier results of other stages stay in the file."""
    kept = _figures(results)
    stored: dict[str, Any] = kept if isinstance(kept, dict) else {}
    stored["machine"] = describe_machine()
    stored.setdefault("stages", {})
    work.mkdir(parents=True, exist_ok=True)
    results.parent.mkdir(parents=True, exist_ok=True)
    for stage in chosen:
        commands: dict[str, Any] = {}
        stored["stages"][stage.name] = {"about": stage.about, "commands": commands}
        for command in stage.commands:
            print(f"{stage.name}: {command.name}, at most {command.limit} s", flush=True)
            commands[command.name] = run_command(command, work / f"{command.name}.log")
            _write(results, stored)
            told = commands[command.name]
            print(f"  {told['outcome']} after {told['seconds']:.1f} s", flush=True)
            if told["outcome"] in ("failed", "too long"):
                print("  " + "\n  ".join(told["output"].splitlines()[-8:]), flush=True)
        _write(results, stored)
    return stored


def _write(path: Path, stored: dict[str, Any]) -> None:
    partial = path.with_name(path.name + ".partial")
    partial.write_text(json.dumps(stored, indent=1) + "\n", encoding="utf-8")
    partial.replace(path)


def table(stored: dict[str, Any], names: Sequence[str]) -> list[str]:
    """One line for each program of the named stages."""
    lines = [f"{'stage':<12}{'program':<16}{'outcome':<10}{'seconds':>8}"]
    for name in names:
        for command, told in stored["stages"][name]["commands"].items():
            lines.append(f"{name:<12}{command:<16}{told['outcome']:<10}{told['seconds']:>8.1f}")
    return lines


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="gpu/run.sh",
        description=(__doc__ or "").splitlines()[0],
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("stages", nargs="*", metavar="STAGE", help="default: all")
    parser.add_argument("--kit", type=Path, default=Path("build/gpu-kit/kit"))
    parser.add_argument("--work", type=Path, default=Path("build/gpu-kit/work"))
    parser.add_argument("--results", type=Path, required=True, help="JSON file")
    parser.add_argument("--rehearse", action="store_true", help="on the CPU, with little work")
    given = parser.parse_args(arguments)
    bundle = given.kit / "bundle"
    if given.rehearse:
        bundle = given.work / "bundle"
        shutil.rmtree(bundle, ignore_errors=True)
        strip(Path("bundles/scenes"), bundle)
    place = Place(sys.executable, given.kit.resolve(), bundle, given.work.resolve())
    every = {stage.name: stage for stage in stages(place, given.rehearse)}
    unknown = [name for name in given.stages if name not in every]
    if unknown:
        parser.error(f"no stage {', '.join(unknown)}; there are {', '.join(every)}")
    names = given.stages or list(every)
    stored = run_stages([every[name] for name in names], given.results, given.work)
    print("\n".join(table(stored, names)))
    print(f"wrote {given.results}")
    outcomes = [
        told["outcome"] for name in names for told in stored["stages"][name]["commands"].values()
    ]
    return 0 if set(outcomes) <= {"passed", "cut off"} else 1


if __name__ == "__main__":
    sys.exit(main())
