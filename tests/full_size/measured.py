"""``fgdm`` as a user runs it, with the time and memory it takes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from fgdm.manifest import read_manifest
from fgdm.plans import Plan, find_plans

MAX_BUILD_BYTES = 12e9
ARCHITECTURES = ("sm_86", "sm_89", "sm_120")

#: Runs a command line and reports what it took, without its parent's memory.
_MEASURE = """
import json, resource, subprocess, sys, time
began = time.monotonic()
code = subprocess.call(sys.argv[1:], stdout=sys.stderr)
usage = resource.getrusage(resource.RUSAGE_CHILDREN)
seconds = time.monotonic() - began
print(json.dumps({"code": code, "seconds": seconds, "bytes": usage.ru_maxrss * 1024}))
"""


def measured(*arguments: str) -> dict[str, float]:
    """Run ``fgdm`` as a user does; its seconds and its largest memory in bytes."""
    done = subprocess.run(
        [sys.executable, "-c", _MEASURE, sys.executable, "-m", "fgdm", *arguments],
        capture_output=True,
        text=True,
        check=True,
    )
    taken: dict[str, float] = json.loads(done.stdout)
    assert taken["code"] == 0, done.stderr
    print(f"fgdm {arguments[0]}: {taken['seconds']:.0f} s, {taken['bytes'] / 1e9:.1f} GB at most")
    return taken


def build_for_tensorrt_rtx(bundle: Path, *options: str) -> tuple[Plan, ...]:
    """Build plans for three architectures without a GPU, and read them back with their hashes."""
    pytest.importorskip("tensorrt_rtx", reason="tensorrt-rtx isn't installed")
    gpus = ",".join(ARCHITECTURES)
    taken = measured("build", str(bundle), "--target=tensorrt-rtx", f"--gpu={gpus}", *options)
    assert taken["bytes"] <= MAX_BUILD_BYTES
    plans = find_plans(bundle, read_manifest(bundle), verify=True)
    for plan in plans:
        assert plan.problem is None
        assert plan.metadata is not None
        assert plan.metadata.gpus == ARCHITECTURES
        assert plan.metadata.built["checked"] in ("described", "deserialised")
    return plans
