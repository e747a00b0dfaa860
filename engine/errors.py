"""The tree of exceptions that fgdm raises on purpose, the same in Python and in C++.

Every message says what was given, what was expected, and what to do. The compiled core raises these
very classes for the C++ exceptions of the same names.
"""

from __future__ import annotations


class Error(Exception):
    """The root of the tree."""


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
