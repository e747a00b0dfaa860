"""Fixtures of the tests at Stable Diffusion 1.5's shapes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.full_size.sd15 import build_checkpoint


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a random checkpoint."""
    folder = tmp_path_factory.mktemp("sd15")
    build_checkpoint(folder)
    return folder
