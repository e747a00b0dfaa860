"""Protects that a process ends as its program says, whatever an engine is doing then."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.hostile.endings import Ending, endings
from tests.hostile.workers import LIMIT

SLICE = 10
_BAD_WORDS = ("Fatal Python error", "terminate called", "Segmentation", "SystemError")


def end(ending: Ending) -> str | None:
    """Runs a program; what is wrong with how it ended, None if nothing."""
    try:
        done = subprocess.run(
            [sys.executable, "-c", ending.program],
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=LIMIT + 10,  # of which the program needs some to import and open
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"{ending.name}: hangs\n{ending.program}"
    bad = [word for word in _BAD_WORDS if word in done.stderr]
    if done.returncode in ending.codes and not bad:
        return None
    return (
        f"{ending.name}: ended with {done.returncode}, expected {ending.codes}\n"
        f"{done.stderr[-800:]}\n{ending.program}"
    )


def run(bundle: Path, chosen: slice) -> None:
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        told = list(pool.map(end, endings(str(bundle))[chosen]))
    failures = [failure for failure in told if failure]
    assert not failures, f"{len(failures)} failed\n" + "\n".join(failures[:20])


def test_ten_endings(small_bundle: Path) -> None:
    run(small_bundle, slice(SLICE))


@pytest.mark.nightly
def test_all_other_endings(small_bundle: Path) -> None:
    run(small_bundle, slice(SLICE, None))
