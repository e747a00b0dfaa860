"""The exit codes of the ``fgdm`` command: one table, for the help, the documentation and errors."""

from __future__ import annotations

from fgdm.errors import (
    BackendError,
    BundleError,
    CancelledError,
    DeadlineError,
    OutOfMemoryError,
    QueueFullError,
    RequestError,
)
from fgdm.files import OutputError
from fgdm.termination import Terminated

INTERNAL = 1
REQUEST = 2
BUNDLE = 3
BACKEND = 4
OUTPUT = 5
DEADLINE = 6
CANCELLED = 130
TERMINATED = 143

TABLE = {
    0: "done (doctor: this machine can generate)",
    INTERNAL: "internal error; doctor: this machine can't generate; export: it failed; "
    "tune: nothing was written; watermark: none was found; compare: beyond the tolerance",
    REQUEST: "wrong usage or request",
    BUNDLE: "the bundle is missing, damaged or too new",
    BACKEND: "the runtime or device failed, is missing, or ran out of memory",
    OUTPUT: "the output can't be written",
    DEADLINE: "the deadline passed, or too many requests were waiting",
    CANCELLED: "cancelled with Ctrl-C",
    TERMINATED: "ended by SIGTERM",
}

# The first that fits: an OutputError is a RequestError, too, and Terminated a KeyboardInterrupt.
_BY_ERROR: tuple[tuple[type[BaseException], int], ...] = (
    (OutputError, OUTPUT),
    (RequestError, REQUEST),
    (BundleError, BUNDLE),
    (BackendError, BACKEND),
    (OutOfMemoryError, BACKEND),
    (MemoryError, BACKEND),
    (DeadlineError, DEADLINE),
    (QueueFullError, DEADLINE),
    (CancelledError, CANCELLED),
    (Terminated, TERMINATED),
    (KeyboardInterrupt, CANCELLED),
)


def exit_code(error: BaseException) -> int:
    """The exit code that stands for an error."""
    return next((code for kind, code in _BY_ERROR if isinstance(error, kind)), INTERNAL)


def table() -> str:
    """The codes and what they mean, a line each."""
    return "\n".join(f"  {code:<4} {meaning}" for code, meaning in TABLE.items())
