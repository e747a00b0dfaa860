"""The engines that are open: closed before the interpreter goes, forgotten in a forked child.

An engine's thread calls into Python. An interpreter that is on its way out ends or stops threads
that do so, and a forked child has none of the parent's threads to wait for.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import weakref
from typing import TYPE_CHECKING

import fgdm._core as _core  # noqa: PLR0402 (absent, it must be named in the ImportError)
from fgdm.errors import Error, RequestError

if TYPE_CHECKING:
    from fgdm.engine import Engine

_open: weakref.WeakSet[Engine] = weakref.WeakSet()
_exiting = False


def check() -> None:
    """Raises RequestError while the interpreter exits: nobody would close a new engine."""
    if _exiting:
        raise RequestError("the interpreter is exiting; open engines before")


def add(engine: Engine) -> None:
    """Has an engine closed at exit, unless it is closed before."""
    _open.add(engine)


def discard(engine: Engine) -> None:
    """Forgets an engine that is closed."""
    _open.discard(engine)


def _close_all() -> None:
    global _exiting  # noqa: PLW0603 (there is one interpreter)
    _exiting = True
    for engine in list(_open):
        with contextlib.suppress(Error):
            engine.close()
    _core.finish_closing()


atexit.register(_close_all)
os.register_at_fork(after_in_child=_open.clear)
