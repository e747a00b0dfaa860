"""The service's log: a line of JSON a record, on standard error."""

from __future__ import annotations

import json
import logging
import sys


class LogLine(logging.Formatter):
    """Of a request, its record's text, which is JSON; of what an engine tells, level and text."""

    def format(self, record: logging.LogRecord) -> str:
        """The line without its end."""
        if record.name != "fgdm":
            return super().format(record)
        return json.dumps({"level": record.levelname.lower(), "message": record.getMessage()})


def to_standard_error() -> logging.Handler:
    """A handler that writes such lines."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(LogLine())
    return handler
