"""What the core tells, as records of Python's logging: the logger is called "fgdm".

A thread of the core's hands lines on that holds none of its locks: a handler may do anything, use
engines too.
"""

from __future__ import annotations

import logging

import fgdm._core as _core  # noqa: PLR0402 (absent, it must be named in the ImportError)

_logger = logging.getLogger("fgdm")
_logger.addHandler(logging.NullHandler())  # else Python prints warnings where nobody asked for them


def start() -> None:
    """Has lines handed on from now on, unless they already are. A forked child starts anew."""
    _core.start_log(_hand_on)


def end() -> None:
    """Waits until the last line has been handed on, five seconds at most."""
    _core.end_log()


def _hand_on(is_warning: bool, message: str) -> None:
    _logger.log(logging.WARNING if is_warning else logging.INFO, "%s", message)
