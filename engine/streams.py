"""Standard input, output and error of a command: they may be closed, full, or without a reader."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import sys

from fgdm.files import OutputError


def open_closed() -> None:
    """Opens the null device where the parent process closed a standard stream.

    Otherwise Python has None there, and the next file that is opened would be taken for it.
    """
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(number)
        except OSError:
            null = os.open(os.devnull, os.O_RDONLY if mode == "r" else os.O_WRONLY)
            if null != number:
                os.dup2(null, number)
                os.close(null)
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, mode, encoding="utf-8", closefd=False))  # noqa: SIM115


def keep_printable() -> None:
    """Lets no text that was read from somewhere break the output."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def as_output_error(error: Exception) -> Exception:
    """An OutputError in place of a failed write to standard output; any other error as it is."""
    full = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
    if isinstance(error, OSError) and error.filename is None and error.errno in full:
        return OutputError(
            f"can't write to standard output: {error.strerror}; send it where there is room"
        )
    return error


def give_up_output() -> None:
    """Drops what standard output still holds, so that Python's end doesn't try it once more."""
    with contextlib.suppress(OSError, ValueError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())
        os.close(null)


def say(text: str) -> None:
    """One line on standard error, if that can be written."""
    with contextlib.suppress(OSError, ValueError):
        print(f"fgdm: {text}", file=sys.stderr, flush=True)
