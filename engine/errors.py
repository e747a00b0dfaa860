"""The tree of exceptions that fgdm raises on purpose, the same in Python and in C++.

Every message says what was given, what was expected, and what to do. The compiled core raises these
very classes for the C++ exceptions of the same names.
"""

from __future__ import annotations

#: The longest message, in characters.
MOST = 2000


class Error(Exception):
    """The root of the tree.

    Of a message that is longer than 2000 characters, because it quotes a file, a request or a
    runtime, the middle is left out.
    """

    def __init__(self, message: str = "") -> None:
        if len(message) > MOST:
            message = f"{message[: MOST * 3 // 4 - 3]}...{message[-MOST // 4 :]}"
        super().__init__(message)


class BundleError(Error):
    """A bundle can't be used: a file is missing, damaged, or says something fgdm doesn't know."""


class RequestError(Error):
    """An argument is wrong; the same call with a corrected argument can succeed."""


class BackendError(Error):
    """A runtime or device failed, or lacks what was asked of it."""


class OutOfMemoryError(Error):
    """Host or device memory ran out; fewer candidates or a smaller picture can succeed."""


class CancelledError(Error):
    """The caller cancelled the request before it was done."""


class QueueFullError(Error):
    """As many requests wait as the engine takes; the same call can succeed a little later."""


class DeadlineError(Error):
    """The request's deadline passed before it was done."""
