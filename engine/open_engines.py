"""The engines that are open: closed before the interpreter goes, forgotten in a forked child.

An engine's thread calls into Python. An interpreter that is on its way out ends or stops threads
that do so, and a forked child has none of the parent's threads to wait for.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import threading
import weakref
from collections.abc import Iterator
from typing import TYPE_CHECKING

import fgdm._core as _core  # noqa: PLR0402 (absent, it must be named in the ImportError)
import fgdm.log  # noqa: F401 (what engines tell, from the first on)
from fgdm.errors import Error, RequestError

if TYPE_CHECKING:
    from fgdm.engine import Engine

#: At exit, calls are waited for so long, seconds.
_LONGEST_WAIT = 30.0

_open: weakref.WeakSet[Engine] = weakref.WeakSet()
_exiting = False
_calls = 0
_changed = threading.Condition()


@contextlib.contextmanager
def call() -> Iterator[None]:
    """Around a call into the core that may enter the interpreter again or opens an engine.

    A daemon thread that is in such a call while the interpreter goes would be ended with the core's
    functions on its stack: the exit waits for it. Raises RequestError while the interpreter exits.
    """
    global _calls  # noqa: PLW0603
    with _changed:
        if _exiting:
            raise RequestError("the interpreter is exiting; use engines before")
        _calls += 1
    try:
        yield
    finally:
        with _changed:
            _calls -= 1
            _changed.notify_all()


def add(engine: Engine) -> None:
    """Has an engine closed at exit, unless it is closed before."""
    _open.add(engine)


def discard(engine: Engine) -> None:
    """Forgets an engine that is closed."""
    _open.discard(engine)


def _at_exit() -> None:
    global _exiting  # noqa: PLW0603 (there is one interpreter)
    with _changed:
        _exiting = True
    _close_all()
    with _changed:
        _changed.wait_for(lambda: _calls <= 0, _LONGEST_WAIT)  # less after a fork within one
    _close_all()  # what was being opened
    _core.finish_closing()
    _core.end_log()


def _close_all() -> None:
    for engine in list(_open):
        with contextlib.suppress(Error):
            engine.close()


def _forget() -> None:
    global _calls, _changed
    _open.clear()
    _calls, _changed = 0, threading.Condition()


atexit.register(_at_exit)
os.register_at_fork(after_in_child=_forget)
