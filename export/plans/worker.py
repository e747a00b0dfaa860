"""The process that builds one plan: ``python -m fgdm.export.plans.worker``.

A process of its own, so that the runtime's memory is returned, its crashes stay its own, and Ctrl-C
never interrupts it half-way. It reads one JSON line, the order, and answers with JSON lines:
``{"progress": percent}``, then one of ``{"done": metadata}``, ``{"stopped": true}`` and
``{"error": text}``. A line more, or the end of its input, which is what its parent's death looks
like, stops the build at the builder's next step.
"""

from __future__ import annotations

import hashlib
import json
import os
import resource
import select
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, TextIO

from fgdm import __version__
from fgdm.errors import Error
from fgdm.files import write_all
from fgdm.plans import SCHEMA

from ..schemas import check_form
from . import runtimes
from .compile import Compiled, Stopped, compile_plan
from .order import Order

_REMEDY = "free some room there, then run the same command again: finished plans are kept"


def main() -> None:
    """Serves one order from standard input."""
    # What the runtime prints must not get between the answers.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    # Unbuffered, so that the line that stops the build isn't read ahead with the order.
    with open(0, "rb", buffering=0, closefd=False) as stream:
        task = json.loads(stream.readline())
    try:
        metadata = build(
            Order.from_json(task["order"]),
            deserialise=task["deserialise"],
            advance=_reporter(answers),
            stopped=_input_waits,
        )
        answer: dict[str, Any] = {"done": metadata}
    except Stopped:
        answer = {"stopped": True}
    except Error as error:
        answer = {"error": str(error)}
    except MemoryError:
        answer = {"error": "memory ran out; close other programs, or build with fewer --jobs"}
    _say(answers, answer)


def build(
    order: Order,
    *,
    deserialise: bool,
    advance: Callable[[float], None],
    stopped: Callable[[], bool],
) -> dict[str, Any]:
    """Builds and writes a plan: its layers, the plan, and last its metadata, which is returned.

    Raises:
        ExportError: it can't be built. OutputError: it can't be written; nothing is left of it.
        Stopped: `stopped` answered True.
    """
    target = runtimes.TARGETS[order.covers["target"]]
    started = time.monotonic()
    cache = _timing_cache(order) if target.needs_gpu else None
    compiled = compile_plan(
        runtimes.load(target),
        order.bundle,
        order.covers,
        plugin=order.plugin,
        timing_cache=None if cache is None else _read(cache),
        deserialise=deserialise,
        advance=advance,
        stopped=stopped,
    )
    metadata = _metadata(order, compiled, time.monotonic() - started)
    check_form("plan", metadata)
    layers = [asdict(layer) for layer in compiled.description.layers]
    contents: dict[Path, bytes | memoryview] = {
        order.stem.with_suffix(".layers.json"): json.dumps(layers).encode(),
        order.stem.with_suffix(".plan"): compiled.data,
    }
    if cache is not None and compiled.timing_cache is not None:
        contents[cache] = compiled.timing_cache
    contents[order.stem.with_suffix(".json")] = json.dumps(metadata, indent=1).encode() + b"\n"
    write_all(contents, _REMEDY)
    return metadata


def _metadata(order: Order, compiled: Compiled, seconds: float) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "covers": order.covers,
        "plan": {
            "size": compiled.data.nbytes,
            "sha256": hashlib.sha256(compiled.data).hexdigest(),
        },
        "built": {
            "by": f"fgdm {__version__}",
            "seconds": round(seconds, 2),
            "peak_memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
            "checked": compiled.checked,
            "layers": len(compiled.description.layers),
        },
    }


def _timing_cache(order: Order) -> Path:
    """Measured kernels of one GPU architecture, which spare the next build their timing."""
    return order.stem.with_name(f"timing.{order.covers['gpus'][0]}.cache")


def _read(path: Path) -> bytes:
    return path.read_bytes() if path.is_file() else b""


def _reporter(answers: TextIO) -> Callable[[float], None]:
    last = -1

    def advance(fraction: float) -> None:
        nonlocal last
        percent = int(100 * fraction)
        if percent > last:
            last = percent
            _say(answers, {"progress": percent})

    return advance


def _say(answers: TextIO, answer: dict[str, Any]) -> None:
    answers.write(json.dumps(answer) + "\n")
    answers.flush()


def _input_waits() -> bool:
    return bool(select.select([0], [], [], 0)[0])


if __name__ == "__main__":
    main()
