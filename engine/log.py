"""What the core tells, as records of Python's logging: the logger is called "fgdm".

A thread of its own hands lines on, so that a handler may do anything, use engines too.
"""

from __future__ import annotations

import logging
import os
import sys
import threading

import fgdm._core as _core  # noqa: PLR0402 (absent, it must be named in the ImportError)

_logger = logging.getLogger("fgdm")
_logger.addHandler(logging.NullHandler())  # else Python prints warnings where nobody asked for them

#: At exit, the last lines are waited for so long, seconds.
_LONGEST_WAIT = 5.0

_starting = threading.Lock()
_thread: threading.Thread | None = None


def start() -> None:
    """Has lines handed on from now on, unless they already are. A forked child starts anew."""
    global _thread  # noqa: PLW0603 (there is one process)
    with _starting:
        if _thread is None:
            _thread = threading.Thread(target=_hand_on, name="fgdm-log", daemon=True)
            _thread.start()


def end() -> None:
    """Waits until the last line has been handed on."""
    _core.end_log()
    if _thread is not None:
        _thread.join(_LONGEST_WAIT)


def _hand_on() -> None:
    while (line := _core.next_log_line()) is not None:
        is_warning, message = line
        try:
            _logger.log(logging.WARNING if is_warning else logging.INFO, "%s", message)
        except Exception:  # a handler's: later lines are told all the same
            threading.excepthook(
                threading.ExceptHookArgs((*sys.exc_info(), threading.current_thread()))
            )


def _forget() -> None:
    global _starting, _thread
    _starting, _thread = threading.Lock(), None


os.register_at_fork(after_in_child=_forget)
