"""A bundle without a segmenter, and an engine of it whose time and pictures are made up."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from fgdm.cli import tune
from fgdm.tuning import search

from tests.engine.cli.tune.tunable import SCENES, Clock, FakeEngine, write_manifest


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A bundle without a segmenter: its pictures are compared with the careful setting's."""
    for name in ("manifest.json", "manifest.sha256"):
        shutil.copyfile(SCENES / name, tmp_path / name)
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    del manifest["segmenter"]
    write_manifest(tmp_path, manifest)
    return tmp_path


@pytest.fixture
def engine(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> FakeEngine:
    clock = Clock()
    fake = FakeEngine(json.loads((bundle / "manifest.json").read_text()), clock)
    monkeypatch.setattr(tune, "open_engine", lambda args, bundle: fake)
    monkeypatch.setattr(search, "time", clock)
    return fake
