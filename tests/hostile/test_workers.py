"""Protects the harness: a death, a hang and a bare exception are each found, with their case."""

from __future__ import annotations

import os

import pytest

from tests.hostile import workers


def test_every_kind_of_failure_is_told_with_its_case(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "LIMIT", 2.0)
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    failures = workers.attack("tests.hostile.broken", [], range(8))
    assert [failure.case for failure in failures] == [2, 4, 6]
    told = [failure.what for failure in failures]
    assert "SIGSEGV" in told[0] and "hung" in told[1] and told[2] == "a bare exception"
    assert "echo 2 | python -m tests.hostile.broken" in failures[0].reproduce
