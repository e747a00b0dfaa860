"""Fixtures that several folders of tests share."""

from __future__ import annotations

from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="the test bundle is made with PyTorch")


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> object:
    """A random checkpoint in Stable Diffusion 1.x's layout: `tests.tiny_models.TinyCheckpoint`."""
    from tests.tiny_models import build_checkpoint

    return build_checkpoint(tmp_path_factory.mktemp("checkpoint"))


@pytest.fixture(scope="session")
def tiny_bundle(tiny_checkpoint: object, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkpoint exported as a bundle."""
    from tests.tiny_models import build_bundle

    return build_bundle(tmp_path_factory.mktemp("bundle") / "tiny", tiny_checkpoint)
