"""The bundle that is spoilt, and how many cases a run has."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from fgdm.engine import Engine

from tests.hostile import miniature


@pytest.fixture(scope="session")
def small_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The miniature, with a profile measured here."""
    folder = miniature.build(tmp_path_factory.mktemp("miniature"))
    with Engine(folder, backend="cpu", threads=1) as engine:
        profile = engine.profile([1, 2, 4], 1)
    (folder / "plans" / "profile.json").write_text(json.dumps(profile))
    return folder


@pytest.fixture(scope="session")
def hostile_seed() -> str:
    """FGDM_HOSTILE_SEED, or 1: other seeds are other cases."""
    return os.environ.get("FGDM_HOSTILE_SEED", "1")
