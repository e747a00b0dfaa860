"""A bundle's plans/ folder: who may write to it, what is finished, what is left over."""

from __future__ import annotations

import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fgdm.plans import PLANS

from ..errors import ExportError

LOCK = ".lock"


@contextmanager
def building(bundle: Path) -> Iterator[None]:
    """The right to build plans of a bundle, which one process has at a time.

    It is an advisory lock of the operating system on plans/.lock, so it ends with its process,
    however that dies; the file stays and tells who had it last. A second build doesn't wait.

    Raises:
        ExportError: another process has it (the message names it), or plans/ can't be written.
    """
    folder = bundle / PLANS
    try:
        folder.mkdir(exist_ok=True)
        file = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise ExportError(
            f"can't write to {folder}: {error.strerror}; build in a copy of the bundle that "
            "you may write to"
        ) from error
    try:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(file, 200).decode(errors="replace").strip() or "another process"
            raise ExportError(
                f"plans of {bundle} are being built by {holder}; wait for it to end, then run the "
                "same command again: it builds only what is still missing"
            ) from None
        os.ftruncate(file, 0)
        os.write(file, f"process {os.getpid()} on {socket.gethostname()}\n".encode())
        yield
    finally:
        os.close(file)


def clear_leftovers(bundle: Path) -> None:
    """Removes what a killed build left: temporary files, and plans whose metadata is missing.

    To be called by who holds the lock.
    """
    for path in (bundle / PLANS).glob("*/*"):
        unfinished = path.name.endswith((".plan", ".layers.json")) and not _metadata(path).exists()
        if unfinished or (path.name.startswith(".") and path.suffix == ".part"):
            path.unlink()


def remove(bundle: Path, target: str, key: str) -> None:
    """Removes a plan, its metadata first, so that nothing half-removed looks like a plan."""
    stem = bundle / PLANS / target / key
    for suffix in (".json", ".plan", ".layers.json"):
        stem.with_suffix(suffix).unlink(missing_ok=True)


def _metadata(path: Path) -> Path:
    return path.with_name(path.name.partition(".")[0] + ".json")
