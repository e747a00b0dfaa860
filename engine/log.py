"""What the core tells, as records of Python's logging: the logger is called "fgdm".

A thread of the core's hands lines on that holds none of its locks: a handler may do anything, use
engines too.
"""

from __future__ import annotations

import logging

import fgdm._core as _core  # noqa: PLR0402 (absent, it must be named in the ImportError)

_logger = logging.getLogger("fgdm")
_logger.addHandler(logging.NullHandler())  # else Python prints warnings where nobody asked for them


def _hand_on(is_warning: bool, message: str) -> None:
    _logger.log(logging.WARNING if is_warning else logging.INFO, "%s", message)


_core.hand_lines_to(_hand_on)
