"""What export raises."""

from __future__ import annotations

from fgdm.errors import RequestError


class ExportError(RequestError):
    """A bundle cannot be made: the message says what was given, what was expected, what to do."""
