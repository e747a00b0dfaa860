"""Fixtures: the tiny checkpoint and its bundle, made once per session."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny_models import TinyCheckpoint, build_bundle, build_checkpoint


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> TinyCheckpoint:
    return build_checkpoint(tmp_path_factory.mktemp("checkpoint"))


@pytest.fixture(scope="session")
def tiny_bundle(
    tmp_path_factory: pytest.TempPathFactory, tiny_checkpoint: TinyCheckpoint
) -> Path:
    """The bundle's folder. Tests must not change it."""
    return build_bundle(tmp_path_factory.mktemp("bundles") / "tiny", tiny_checkpoint)
