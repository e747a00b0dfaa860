"""Every line of the service's log is JSON, whoever tells it."""

from __future__ import annotations

import io
import json
import logging

import pytest
from fgdm.serve.log_lines import to_standard_error


def test_requests_and_engines_write_lines_of_json(monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.StringIO()
    monkeypatch.setattr("sys.stderr", written)
    handler = to_standard_error()
    for name, message in [
        ("fgdm.serve", '{"id": "one"}'),
        ("fgdm", 'a batch failed: "no\nmemory"'),
    ]:
        handler.handle(logging.LogRecord(name, logging.WARNING, "", 0, "%s", (message,), None))
    request, engine = map(json.loads, written.getvalue().splitlines())
    assert request == {"id": "one"}
    assert engine == {"level": "warning", "message": 'a batch failed: "no\nmemory"'}
