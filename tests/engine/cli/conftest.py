"""What the tests of the command line share."""

from __future__ import annotations

from pathlib import Path

import pytest
from fgdm.cli import generate

from tests.engine.cli.fake_engine import FakeEngine, MakeResult


@pytest.fixture
def engine(make_result: MakeResult, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FakeEngine:
    fake = FakeEngine(make_result())
    monkeypatch.setattr(generate, "open_engine", lambda args, bundle: fake)
    monkeypatch.setenv("FGDM_BUNDLE", "some/bundle")
    monkeypatch.chdir(tmp_path)
    return fake
