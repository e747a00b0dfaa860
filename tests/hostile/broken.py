"""A worker with one case of each failure, by which the harness itself is tested."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from typing import Any

from tests.hostile.workers import serve


def prepare(arguments: list[str]) -> Callable[[int], dict[str, Any]]:
    """Case 2 crashes, 4 hangs, 6 reports a problem; the others are well."""

    def run(case: int) -> dict[str, Any]:
        if case == 2:
            os.kill(os.getpid(), signal.SIGSEGV)
        if case == 4:
            time.sleep(60)
        return {"problem": "a bare exception" if case == 6 else None, "description": str(case)}

    return run


if __name__ == "__main__":
    serve(prepare)
