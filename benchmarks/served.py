"""``fgdm serve`` as a process, and what a process takes of the machine."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx

#: Seconds for a service to open its bundle, or to end.
_PATIENCE = 120


@dataclass(frozen=True)
class Usage:
    """Of a process: memory in bytes, processor time in seconds, open files."""

    memory: int
    processor: float
    files: int


def usage_of(process: int) -> Usage:
    """What the kernel says of a process of this machine. Linux."""
    folder = Path(f"/proc/{process}")
    pages = int((folder / "statm").read_text().split()[1])
    user, system = (folder / "stat").read_text().rpartition(")")[2].split()[11:13]
    return Usage(
        memory=pages * os.sysconf("SC_PAGE_SIZE"),
        processor=(int(user) + int(system)) / os.sysconf("SC_CLK_TCK"),
        files=len(list((folder / "fd").iterdir())),
    )


@dataclass(frozen=True)
class Service:
    """A running service. start_seconds: from its start until it was ready."""

    process: int
    address: str
    start_seconds: float

    @property
    def usage(self) -> Usage:
        return usage_of(self.process)


@contextlib.contextmanager
def service(bundle: Path, *options: str) -> Iterator[Service]:
    """On a free port; ends with SIGTERM. options: further bundles, and what `fgdm serve` takes.
    Raises RuntimeError if it doesn't come up or end well."""
    began = time.perf_counter()
    command = [sys.executable, "-m", "fgdm", "serve", str(bundle), *options, "--port", "0"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        try:
            assert process.stdout is not None
            match = re.search(r"http://\S+", process.stdout.readline())
            if match is None:
                raise RuntimeError(f"{' '.join(command)} didn't come up")
            while httpx.get(f"{match[0]}/ready").status_code != 200:
                time.sleep(0.01)
            yield Service(process.pid, match[0], time.perf_counter() - began)
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(_PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()
                raise RuntimeError("the service didn't end") from None
        if process.returncode != 0:
            raise RuntimeError(f"the service ended with {process.returncode}")
