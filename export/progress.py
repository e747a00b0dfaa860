"""How export tells its caller where it is."""

from __future__ import annotations

from collections.abc import Callable

#: Called as ``progress(what, done, total)`` before each stage and once at the end.
Progress = Callable[[str, int, int], None]


def silent(what: str, done: int, total: int) -> None:
    """Tell nobody."""
