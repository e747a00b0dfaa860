"""Where a figure was measured."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import subprocess
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

_PACKAGES = ("fgdm", "onnxruntime", "onnxruntime-openvino", "torch", "diffusers", "numpy")


def available_cores() -> int:
    """Cores that this process may use: as many threads as every side of a comparison gets."""
    return len(os.sched_getaffinity(0))


def describe_machine() -> dict[str, Any]:
    """Processor, cores, versions, commit and time, for the head of a result file."""
    return {
        "processor": _processor(),
        "cores": available_cores(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "packages": _versions(),
        "commit": _commit(),
        "time": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }


def write_results(path: Path | None, results: dict[str, Any]) -> None:
    """Write results and machine as JSON, unless `path` is None."""
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(path.name + ".partial")
        partial.write_text(json.dumps({"machine": describe_machine(), **results}, indent=1) + "\n")
        partial.replace(path)


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.machine()


def _versions() -> dict[str, str]:
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _commit() -> str:
    root = Path(__file__).parent
    answer = subprocess.run(
        ["git", "-C", str(root), "rev-parse", "HEAD"], capture_output=True, text=True, check=False
    )
    return answer.stdout.strip() or "unknown"
