"""What export raises."""

from __future__ import annotations


class ExportError(RuntimeError):
    """A bundle cannot be made: the message says what was given, what was expected, what to do."""
